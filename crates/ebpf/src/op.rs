//! An instruction ready to run: what [`crate::decode`] makes of an [`Insn`](crate::Insn).
//!
//! Immediate and register forms are one: the second operand of everything is *register plus
//! immediate*, where the immediate form names a register that is always zero and the register form an
//! immediate of zero. That halves the kinds, and the interpreter fetches operands without a branch.

/// The register that is always zero: beyond those that programs can name.
pub(crate) const ZERO: u8 = 11;
/// The frame pointer.
pub(crate) const R10: u8 = 10;

/// One decoded instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Op {
    /// What to do.
    pub(crate) kind: Kind,
    /// Destination: first operand, and where the result goes; base of a store.
    pub(crate) dst: u8,
    /// Register part of the second operand; base of a load.
    pub(crate) src: u8,
    /// Of a jump or a local call: from the next instruction on. Of a store: from `dst` on.
    pub(crate) off: i32,
    /// Immediate part of the second operand, sign-extended; offset of a load; what is called; the
    /// operation of an atomic access.
    pub(crate) imm: u64,
}

impl Op {
    /// Where a jump or local call leads to, seen from the instruction after it.
    #[inline(always)]
    pub(crate) fn target(&self, next: usize) -> usize {
        next.wrapping_add_signed(self.off as isize)
    }
}

/// What an instruction does. 64-bit operations end in 64, 32-bit ones in 32; loads and stores in
/// their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[rustfmt::skip]
pub(crate) enum Kind {
    Add64, Sub64, Mul64, Div64, Sdiv64, Mod64, Smod64, Or64, And64, Xor64, Lsh64, Rsh64, Arsh64, Neg64,
    Add32, Sub32, Mul32, Div32, Sdiv32, Mod32, Smod32, Or32, And32, Xor32, Lsh32, Rsh32, Arsh32, Neg32,
    Swap16, Swap32, Swap64,
    Mov64, MovSigned8To64, MovSigned16To64, MovSigned32To64,
    Mov32, MovSigned8To32, MovSigned16To32,
    /// A move that takes two slots.
    MovWide,
    Load1, Load2, Load4, Load8, LoadSigned1, LoadSigned2, LoadSigned4,
    Store1, Store2, Store4, Store8,
    Atomic4, Atomic8,
    Jump,
    Jeq64, Jne64, Jgt64, Jge64, Jlt64, Jle64, Jset64, Jsgt64, Jsge64, Jslt64, Jsle64,
    Jeq32, Jne32, Jgt32, Jge32, Jlt32, Jle32, Jset32, Jsgt32, Jsge32, Jslt32, Jsle32,
    MayGoto,
    CallLocal, CallHelper, CallKfunc,
    /// A call that the loader could not resolve.
    Poisoned,
    Exit,
    /// The second slot of [`Kind::MovWide`]: nothing may come here.
    Hole,
}

impl Kind {
    /// Whether the instruction may go on elsewhere, in its own function.
    pub(crate) fn jumps(self) -> bool {
        self == Self::Jump || self.branches()
    }

    /// Whether the instruction may go on elsewhere or with the next.
    pub(crate) fn branches(self) -> bool {
        (Self::Jeq64 as u8..=Self::MayGoto as u8).contains(&(self as u8))
    }

    /// Whether the next instruction may follow.
    pub(crate) fn falls_through(self) -> bool {
        !matches!(self, Self::Jump | Self::Exit | Self::Poisoned | Self::Hole)
    }

    /// Whether only the second operand counts, not what `dst` held before.
    pub(crate) fn overwrites(self) -> bool {
        (Self::Mov64 as u8..=Self::LoadSigned4 as u8).contains(&(self as u8))
    }

    /// Whether the result goes to `dst`.
    pub(crate) fn writes_dst(self) -> bool {
        (self as u8) <= Self::LoadSigned4 as u8
    }

    /// Bytes that the instruction itself reads or writes in memory; 0 for all others.
    pub(crate) fn access(self) -> usize {
        match self {
            Self::Load1 | Self::LoadSigned1 | Self::Store1 => 1,
            Self::Load2 | Self::LoadSigned2 | Self::Store2 => 2,
            Self::Load4 | Self::LoadSigned4 | Self::Store4 | Self::Atomic4 => 4,
            Self::Load8 | Self::Store8 | Self::Atomic8 => 8,
            _ => 0,
        }
    }

    /// Whether the instruction writes to memory.
    pub(crate) fn stores(self) -> bool {
        (Self::Store1 as u8..=Self::Atomic8 as u8).contains(&(self as u8))
    }
}
