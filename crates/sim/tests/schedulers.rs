//! Every scheduler in some networks of each class, and every BPF one beside its native twin.

use guywire_sim::{schedulers, twins};

/// A few networks of each class; figure `innocent` plays 300.
const NETWORKS: u64 = 20;
/// Figure `twins` compares a million.
const STATES: u64 = 4_000;

#[test]
fn whoever_means_well_is_not_ejected() {
    for factory in schedulers::all() {
        let swept = schedulers::play(&factory, 0..NETWORKS);
        let name = factory.name();
        assert!(swept.failures.is_empty(), "{name}: {:?}", swept.failures);
        for outcome in &swept.outcomes {
            assert_eq!(outcome.ejected, [], "{name}, seed {}", outcome.seed);
        }
    }
}

#[test]
fn twins_decide_alike() {
    for (bpf, native) in twins::TWINS {
        twins::compare(bpf, native, STATES, 1).unwrap_or_else(|what| panic!("{bpf}: {what}"));
    }
}
