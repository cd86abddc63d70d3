//! Messages of enrolment: the one door that is open to strangers.
#![no_main]

use guywire_transport::enrol::wire;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Some(prefix) = input.first_chunk()
        && let Ok(length) = wire::decode_length(*prefix)
    {
        assert!(length <= wire::MAX_BODY);
    }
    if let Ok(request) = wire::decode_request(input) {
        let again = wire::encode_request(&request);
        assert_eq!(wire::decode_request(&again[2..]).as_ref(), Ok(&request));
    }
    if let Ok(answer) = wire::decode_answer(input) {
        let again = wire::encode_answer(&answer);
        let again = wire::decode_answer(&again[2..]).expect("what is written is read");
        assert_eq!(wire::encode_answer(&again), wire::encode_answer(&answer));
    }
});
