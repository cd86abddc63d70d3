//! The tag in a server name: no text that was not made with the key passes.
#![no_main]

use guywire_transport::tag::{TagKey, generation_wanted, verify_any};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    let key = TagKey::from_bytes([1; 32]);
    let wanted = generation_wanted(input);
    match verify_any(std::slice::from_ref(&key), input) {
        Ok(generation) => assert_eq!(wanted, Ok(generation)),
        Err(_) => assert!(key.verify(input).is_err()),
    }
});
