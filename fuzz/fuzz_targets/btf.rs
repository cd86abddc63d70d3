//! The BTF reader: never panics, and reads back what is written of what it read.
#![no_main]

use guywire_ebpf::btf::Btf;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(btf) = Btf::parse(input) else {
        return;
    };
    for (id, _) in btf.iter() {
        let _ = (btf.name(id), btf.size(id), btf.resolve(id));
    }
    assert_eq!(Btf::parse(&btf.to_bytes()), Ok(btf));
});
