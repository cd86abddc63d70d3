//! The line of an invitation, as people paste it; and, its checksum aside, its addresses.
#![no_main]

use guywire_transport::enrol::{HostPort, Invitation, RouterName};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    if let Ok(invitation) = input.parse::<Invitation>() {
        let line = invitation.to_string();
        let again: Invitation = line.parse().expect("what is written is read");
        assert_eq!(again, invitation);
    }
    if let Ok(address) = input.parse::<HostPort>() {
        assert_eq!(address.to_string().parse(), Ok(address));
    }
    if let Ok(name) = input.parse::<RouterName>() {
        assert_eq!(name.as_str(), input);
    }
});
