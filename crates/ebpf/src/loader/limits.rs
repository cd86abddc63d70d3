//! How much of anything an object may have.
//!
//! Each bound is several times what any known scheduler needs; together they bound time and memory of
//! a load, whatever the file says.

use super::LoadFault;

/// Bytes of the file; with all of a kernel's types and debug information it has 700 kB.
pub const FILE: usize = 4 << 20;
/// Bytes of the name of a section or symbol.
pub const NAME: usize = 512;
/// Sections.
pub const SECTIONS: usize = 512;
/// Symbols.
pub const SYMBOLS: usize = 16_384;
/// Relocations of code and data.
pub const RELOCATIONS: usize = 16_384;
/// Questions about kernel types.
pub const CORE_RELOCATIONS: usize = 4_096;
/// Instructions; the longest known scheduler has 250.
pub const INSTRUCTIONS: usize = 65_536;
/// Maps, data sections included.
pub const MAPS: usize = 64;
/// Bytes of keys and values that all maps together may come to hold, per-socket storage apart.
pub const MAP_BYTES: u64 = 4 << 20;
/// Bytes of a key.
pub const KEY: u32 = 512;
/// Bytes of the value that per-socket storage keeps for each flow and subflow.
pub const STORAGE_VALUE: u32 = 4_096;
/// Bytes of the licence that are kept.
pub const LICENSE: usize = 64;

/// Refuses more than `limit` of something.
pub(super) fn check(what: &'static str, count: usize, limit: usize) -> Result<(), LoadFault> {
    if count > limit {
        return Err(LoadFault::TooMany { what, count, limit });
    }
    Ok(())
}
