//! Random states of a flow, for schedulers to decide in: those of an ordinary one, and hostile ones, with
//! every figure at the ends of what a kernel can report.

use std::net::SocketAddr;
use std::time::Duration;

use guywire_sched::guard::{Budget, Guard, Question};
use guywire_sched::{
    Factory, FlowView, MAX_SUBFLOWS, Offence, Quirks, SubflowId, SubflowView, Time, Traffic,
};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// So many states are of one flow; then another begins.
pub(crate) const STATES_OF_A_FLOW: u64 = 200;
/// So far apart.
pub(crate) const STEP: Duration = Duration::from_millis(3);

/// How a scheduler behaved.
#[derive(Debug, Default, PartialEq)]
pub struct Behaviour {
    /// The first state in which it did what it must not do, and what that was; it was not asked again.
    pub offence: Option<(u64, Offence)>,
    /// What it did that harms nobody.
    pub quirks: Quirks,
}

/// Asks a scheduler in `count` states, a third of them hostile.
pub fn behaviour(factory: &Factory, count: u64, seed: u64) -> Behaviour {
    let mut behaviour = Behaviour::default();
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    let maker = factory.start();
    let (mut guard, mut budget) = (Guard::default(), Budget::default());
    let mut instance = maker();
    for state in 0..count {
        if state.is_multiple_of(STATES_OF_A_FLOW) {
            behaviour.quirks.join(instance.quirks());
            instance = maker();
        }
        let rates: [u64; MAX_SUBFLOWS] = std::array::from_fn(|_| rng.random_range(1..40_000_000));
        let mut subflows = draw_subflows(&mut rng, &rates);
        let hostile = rng.random_ratio(1, 3);
        if hostile {
            subflows
                .iter_mut()
                .for_each(|subflow| distort(&mut rng, subflow));
        }
        let view = FlowView {
            now: Time::ZERO + STEP * (state as u32 + 1),
            traffic: draw_traffic(&mut rng),
            window_free: *pick(&mut rng, &[0, 1, 1_400, 1 << 20, u64::MAX]),
            outstanding: *pick(&mut rng, &[0, 1_400, 1 << 20, u64::MAX]),
            backlog: *pick(&mut rng, &[1, 1 << 20, u64::MAX]),
            sent: if hostile { u64::MAX } else { state * 1_000 },
            chunk: 16_000,
            subflows: &subflows,
        };
        let question = match rng.random_bool(0.2) {
            true => Question::Retrans,
            false => Question::Send,
        };
        let asked = guard.ask(&mut budget, instance.as_mut(), question, 2, &view);
        if let Err(offence) = asked {
            behaviour.offence = Some((state, offence));
            break;
        }
    }
    behaviour.quirks.join(instance.quirks());
    behaviour
}

fn draw_traffic(rng: &mut Pcg64Mcg) -> Traffic {
    let leads_out = rng.random_bool(0.8);
    Traffic {
        destination: leads_out.then(|| SocketAddr::from(rng.random::<([u8; 4], u16)>())),
        dscp: rng.random_range(0..64),
    }
}

/// Puts some figures at the ends of what a kernel can report.
fn distort(rng: &mut Pcg64Mcg, subflow: &mut SubflowView) {
    let ends = [0, 1, 1 << 31, u64::from(u32::MAX), 1 << 50];
    let mut end = |figure: &mut u64| {
        if rng.random_bool(0.4) {
            *figure = *pick(rng, &ends);
        }
    };
    for figure in [
        &mut subflow.rate,
        &mut subflow.queued,
        &mut subflow.room,
        &mut subflow.delivered,
        &mut subflow.given,
    ] {
        end(figure);
    }
    let narrow = |rng: &mut Pcg64Mcg| *pick(rng, &[0, 1, 536, 65_535, u32::MAX]);
    for figure in [&mut subflow.mss, &mut subflow.unacked] {
        *figure = narrow(rng);
    }
    let mut micros = || Duration::from_micros(narrow(rng).into());
    (subflow.srtt, subflow.rttvar, subflow.min_rtt) = (micros(), micros(), micros());
    subflow.stale = rng.random_bool(0.3);
}

pub(crate) fn subflow(path: usize, rate: u64) -> SubflowView {
    SubflowView {
        id: SubflowId(path as u32),
        path: path as u8,
        rate,
        ..SubflowView::EMPTY
    }
}

pub(crate) fn pick<'a, T>(rng: &mut Pcg64Mcg, from: &'a [T]) -> &'a T {
    &from[rng.random_range(0..from.len())]
}

/// Some of the eight subflows there may be.
pub(crate) fn draw_subflows(rng: &mut Pcg64Mcg, rates: &[u64]) -> Vec<SubflowView> {
    let few = rng.random_bool(0.5);
    let shown = |rng: &mut Pcg64Mcg| rng.random_bool(if few { 0.4 } else { 0.9 });
    let mut subflows = Vec::new();
    for (path, &rate) in rates.iter().enumerate() {
        if !shown(rng) {
            continue;
        }
        let idle = rng.random_bool(0.3);
        let full = rng.random_bool(0.3);
        subflows.push(SubflowView {
            srtt: Duration::from_micros(rng.random_range(0..400_000)),
            queued: if idle {
                0
            } else {
                rng.random_range(0..1 << 20)
            },
            room: if full {
                0
            } else {
                rng.random_range(1..1 << 20)
            },
            mss: rng.random_range(500..9_000),
            unacked: if idle { 0 } else { rng.random_range(0..1_000) },
            delivered: rng.random_range(0..1 << 40),
            given: rng.random_range(0..1 << 40),
            backup: rng.random_bool(0.3),
            ..subflow(path, rate)
        });
    }
    subflows
}

#[cfg(test)]
mod tests {
    use guywire_ebpf::embedded::EMBEDDED;
    use guywire_ebpf::scheduler::{Bpf, Settings};
    use guywire_sched::{NATIVE, Quirk};

    use super::*;

    #[test]
    fn what_is_built_in_behaves_in_every_state() {
        let native = NATIVE.iter().map(Factory::from);
        let embedded = EMBEDDED.iter().filter_map(|one| Bpf::embedded(one.name));
        let embedded = embedded.map(|bpf| bpf.factory(Settings::default()));
        for factory in native.chain(embedded) {
            let found = behaviour(&factory, 20_000, 1);
            assert_eq!(found, Behaviour::default(), "{}", factory.name());
        }
    }

    #[test]
    fn who_misbehaves_is_found_out() {
        let (_, offence) = of_zoo("z_stranger").offence.unwrap();
        assert_eq!(offence.reason, guywire_sched::Reason::MarkedStranger);
    }

    #[test]
    fn what_is_odd_and_harmless_is_told() {
        for (member, quirk) in [
            ("z_divide", Quirk::DividedByZero),
            ("z_fills_maps", Quirk::FilledMap),
            ("z_printk", Quirk::FloodedLog),
            ("z_garbage", Quirk::OddAnswer),
        ] {
            let Behaviour { offence, quirks } = of_zoo(member);
            let quirks: Vec<Quirk> = quirks.iter().collect();
            assert_eq!((offence, quirks), (None, vec![quirk]), "{member}");
        }
    }

    /// How a bad one behaves. A map of the zoo is full after 10,000 calls.
    fn of_zoo(member: &str) -> Behaviour {
        let zoo = concat!(env!("CARGO_MANIFEST_DIR"), "/../../bpf/zoo");
        let object = std::fs::read(format!("{zoo}/{member}.bpf.o")).unwrap();
        let bpf = Bpf::load(member, &object).unwrap();
        behaviour(&bpf.factory(Settings::default()), 20_000, 1)
    }
}
