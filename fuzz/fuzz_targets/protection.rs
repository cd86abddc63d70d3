//! Record protection: what was not sealed with the key is refused, whatever it is; what was, is opened as it went in.
#![no_main]

use guywire_transport::tls::protection::{self, Opened, Opener, Sealer};
use libfuzzer_sys::fuzz_target;
use rustls::ConnectionTrafficSecrets;
use rustls::crypto::cipher::{AeadKey, Iv};

fuzz_target!(|input: &[u8]| {
    let mut opener = Opener::new(keys()).expect("keys");
    let mut content = Vec::new();
    if let Ok(Some(length)) = protection::length(input) {
        assert!(length <= protection::HEADER + protection::MAX_CONTENT + 256);
    }
    assert!(opener.open(input, &mut content).is_err(), "it was forged");
    if input.is_empty() {
        return;
    }

    let mut sealer = Sealer::new(keys()).expect("keys");
    let (mut left, mut wire, mut opened) = (input, Vec::new(), Vec::new());
    while !left.is_empty() {
        wire.clear();
        sealer.seal(&mut left, &mut wire).expect("not worn");
        assert_eq!(protection::length(&wire), Ok(Some(wire.len())));
        assert_eq!(opener.open(&wire, &mut content), Ok(Opened::Data));
        opened.extend_from_slice(&content);
    }
    assert_eq!(opened, input);
});

fn keys() -> (u64, ConnectionTrafficSecrets) {
    let (key, iv) = (AeadKey::from([7; 32]), Iv::from([9; 12]));
    (0, ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv })
}
