//! Twins: a BPF scheduler and the native one that is to decide like it, over random states.
//!
//! States are random in every figure, and follow each other as those of one flow, so that what schedulers
//! remember counts too. They are those in which some path is up: what is stale is then not shown.

use guywire_ebpf::scheduler::{Bpf, Settings};
use guywire_sched::{FlowView, MAX_SUBFLOWS, MapValue, Marks, Scheduler, Time, native, weighted};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::states::{STATES_OF_A_FLOW, STEP, draw_subflows, pick, subflow};

/// BPF schedulers and their native twins.
pub const TWINS: [(&str, &str); 9] = [
    ("bpf_first", "first"),
    ("bpf_bkup", "backup"),
    ("bpf_rr", "roundrobin"),
    ("bpf_red", "redundant"),
    ("bpf_burst", "burst"),
    ("bpf_minrtt", "minrtt"),
    ("bpf_weight", "weighted"),
    ("bpf_blest", "blest"),
    ("bpf_early", "early"),
];

/// Compares a pair of those that are built in; see [`compare_object`].
///
/// # Errors
/// The state, and what each marked.
pub fn compare(bpf: &str, twin: &str, count: u64, seed: u64) -> Result<(), String> {
    let loaded = Bpf::embedded(bpf).ok_or_else(|| format!("{bpf} is not built in"))?;
    compare_object(&loaded, twin, count, seed)
}

/// Compares an object with a native scheduler over `count` states; an error tells the first state in
/// which they differ.
///
/// # Errors
/// The state, and what each marked.
pub fn compare_object(bpf: &Bpf, twin: &str, count: u64, seed: u64) -> Result<(), String> {
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    let twin = native(twin).ok_or_else(|| format!("there is no {twin}"))?;
    for flow in 0..count.div_ceil(STATES_OF_A_FLOW) {
        let rates: [u64; MAX_SUBFLOWS] = std::array::from_fn(|_| rng.random_range(1..40_000_000));
        let maker = bpf.factory(settings(bpf.name(), &rates)).start();
        let (mut one, mut other) = (maker(), (twin.make)());
        let mut sent = 0;
        for state in 0..STATES_OF_A_FLOW.min(count - flow * STATES_OF_A_FLOW) {
            let subflows = draw_subflows(&mut rng, &rates);
            let view = FlowView {
                now: Time::ZERO + STEP * (state as u32 + 1),
                traffic: guywire_sched::Traffic::default(),
                window_free: *pick(&mut rng, &[0, 1, 1_400, 65_427, 65_428, 1 << 20, 1 << 40]),
                outstanding: 0,
                backlog: 1 << 20,
                sent,
                chunk: 16_000,
                subflows: &subflows,
            };
            let again = rng.random_bool(0.2);
            let picks = [
                decide(&mut *one, &view, again),
                decide(&mut *other, &view, again),
            ];
            if picks[0] != picks[1] || one.offence().is_some() {
                return Err(format!(
                    "seed {seed}, flow {flow}, state {state}: {picks:?} in {view:?}"
                ));
            }
            sent += rng.random_range(0..20_000);
        }
    }
    Ok(())
}

/// Weights as the twin takes them: by the subflows' rates.
fn settings(bpf: &str, rates: &[u64]) -> Settings {
    let by_path = rates.iter().enumerate().map(|(path, &rate)| MapValue {
        map: "weight_of_id".to_owned(),
        key: vec![path as u8],
        value: weighted::weight(&subflow(path, rate))
            .to_le_bytes()
            .to_vec(),
    });
    Settings {
        maps: if bpf == "bpf_weight" {
            by_path.collect()
        } else {
            Vec::new()
        },
        ..Settings::default()
    }
}

fn decide(scheduler: &mut dyn Scheduler, view: &FlowView<'_>, again: bool) -> Marks {
    let mut marks = Marks::default();
    match again {
        true => scheduler.get_retrans(view, &mut marks),
        false => scheduler.get_send(view, &mut marks),
    }
    marks
}
