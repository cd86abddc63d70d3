//! Known bugs, planted one at a time, are found: `cargo test -p guywire-sim --features planted-bugs
//! --test planted`.

#![cfg(feature = "planted-bugs")]

use guywire_flow::planted::{Bug, plant};
use guywire_sim::run;

/// Each bug is found within so many networks: each class comes up five times.
const WITHIN: u64 = 100;

/// The first seed that fails with the bug and not without it.
fn find(bug: Bug) -> Option<(u64, String)> {
    (0..WITHIN).find_map(|seed| {
        plant(Some(bug));
        let with = run(seed).err();
        plant(None);
        let failure = with?;
        run(seed).is_ok().then(|| (seed, failure.to_string()))
    })
}

#[test]
fn every_planted_bug_is_found() {
    let mut missed = Vec::new();
    for bug in Bug::ALL {
        match find(bug) {
            Some((seed, text)) => println!("{bug:?}: found by network {}: {text}", seed + 1),
            None => missed.push(bug),
        }
    }
    assert!(
        missed.is_empty(),
        "not found within {WITHIN} networks: {missed:?}"
    );
}
