//! The loader of scheduler objects: whatever the file says, an object or an error, soon.
//!
//! Objects to start from: `crates/ebpf/tests/objects` and `bpf`.
#![no_main]

use guywire_ebpf::loader::load;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(object) = load("fuzz", input) {
        let count = object.functions.len();
        let callbacks = object.callbacks;
        assert!(callbacks.get_send < count && callbacks.get_retrans.is_none_or(|at| at < count));
        assert!(
            object
                .functions
                .iter()
                .all(|it| it.start < it.end && it.end <= object.code.len())
        );
        assert!((1..=15).contains(&object.name.len()));
    }
});
