//! Schedulers other than `default` in the networks of many seeds: every native one, and every BPF
//! object that is built in.

use std::ops::Range;

use guywire_ebpf::embedded::EMBEDDED;
use guywire_ebpf::scheduler::{Bpf, Settings};
use guywire_sched::{Factory, NATIVE};

use crate::sweep::{Swept, sweep_with};
use crate::{draw, replay};

/// All of them.
pub fn all() -> Vec<Factory> {
    let built_in = EMBEDDED.iter().filter_map(|it| Bpf::embedded(it.name));
    NATIVE
        .iter()
        .map(Factory::from)
        .chain(built_in.map(|bpf| bpf.factory(Settings::default())))
        .collect()
}

/// Plays the networks of `seeds` with a scheduler at both ends. A scheduler that means well is not ejected,
/// and loses nothing.
pub fn play(factory: &Factory, seeds: Range<u64>) -> Swept {
    sweep_with(seeds, |seed| {
        let mut network = draw::network(seed);
        network.scheduler = factory.clone();
        replay(&network)
    })
}
