//! HELLO of both ends.
#![no_main]

use guywire_transport::hello::{RouterHello, ServerHello};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok((hello, length)) = RouterHello::decode(input) {
        assert!(length <= input.len());
        let again = hello.encode();
        assert_eq!(RouterHello::decode(&again), Ok((hello, again.len())));
    }
    if let Ok((hello, length)) = ServerHello::decode(input) {
        assert!(length <= input.len());
        let again = hello.encode();
        assert_eq!(ServerHello::decode(&again), Ok((hello, again.len())));
    }
});
