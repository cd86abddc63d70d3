//! What `measure` tells of networks whose outcome can be reckoned.

use std::path::Path;
use std::time::Duration;

use guywire_ebpf::scheduler::{Bpf, Settings};
use guywire_lab::scenario::Scenario;
use guywire_sched::{Factory, Reason, native};
use guywire_sim::network::{Algorithm, Network};
use guywire_sim::workload::Workload;
use guywire_sim::{Measured, measure, plot, scenario};

const SKIP: Duration = Duration::from_secs(2);

fn network(links: &str, workload: &str, scheduler: Factory) -> Network {
    let workload: Workload = workload.parse().expect("a workload");
    let scenario = Scenario {
        links: links.parse().expect("links"),
        duration: Duration::from_secs(8),
        seed: 3,
        events: Vec::new(),
        transfers: workload.transfers(),
    };
    scenario::network(&scenario, scheduler).expect("links that can be simulated")
}

fn named(name: &str) -> Factory {
    native(name).expect("a native scheduler").into()
}

fn measured(network: &Network) -> Measured {
    measure(network).unwrap_or_else(|failure| panic!("{failure}"))
}

/// Within so many percent of what is expected.
#[track_caller]
fn near(found: f64, expected: f64, percent: f64) {
    let off = (found / expected - 1.0).abs() * 100.0;
    assert!(off <= percent, "{found} is {off:.1} % off {expected}");
}

#[test]
fn a_single_link_is_filled() {
    for algorithm in [Algorithm::Bbr, Algorithm::Cubic] {
        for (workload, direction) in [("down", "down"), ("up", "up")] {
            let mut network = network("50mbit/20ms", workload, Factory::default());
            network.algorithm = algorithm;
            let run = measured(&network);
            // 1,448 of 1,500 bytes, less TLS and records; BBR stays a little below.
            near(run.goodput(SKIP), 47.5, 4.0);
            assert_eq!(run.transfers[0].direction, direction);
            assert!(run.transfers[0].completed.is_none(), "it is endless");
            // A flow that becomes busy moves from the trunk to a subflow of its own, and overtakes itself.
            assert!(run.late_share() < 0.01, "{:?}", run.transfers[0]);
            assert_eq!(run.overrides, 0);
        }
    }
}

#[test]
fn equal_seeds_are_measured_alike() {
    let network = network(
        "30mbit/20ms/loss1%,10mbit/60ms/jitter10ms",
        "mix",
        named("minrtt"),
    );
    assert_eq!(
        format!("{:?}", measured(&network)),
        format!("{:?}", measured(&network))
    );
}

#[test]
fn short_transfers_have_times() {
    let run = measured(&network("50mbit/20ms", "short:100kB", Factory::default()));
    let times = run.completions();
    assert_eq!((run.transfers.len(), times.len()), (16, 16));
    // A round trip, and 16 ms for the bytes; the window of the first ones has to grow.
    assert!(times[0] > 0.036 && times[15] < 0.3, "{times:?}");
}

#[test]
fn a_paced_stream_keeps_its_pace() {
    let run = measured(&network("50mbit/20ms", "paced:5mbit", named("redundant")));
    near(run.goodput(Duration::ZERO), 5.0, 3.0);
    assert!(run.longest_gap() < 0.03, "{}", run.longest_gap());
}

#[test]
fn a_trace_sets_the_pace() {
    let file = std::env::temp_dir().join(format!("guywire-sim-trace-{}", std::process::id()));
    // 12 Mbit/s: a packet each millisecond.
    let lines: Vec<String> = (1..=100).map(|at: u32| at.to_string()).collect();
    std::fs::write(&file, lines.join("\n")).expect("a file");
    let links = format!("20ms/trace:{}", file.display());
    let run = measured(&network(&links, "down", Factory::default()));
    std::fs::remove_file(&file).expect("it is there");
    near(run.goodput(SKIP), 11.4, 5.0);
    let lost = measure(&network(&links, "down", Factory::default()));
    let error = lost.expect_err("the trace is gone").to_string();
    assert!(error.contains("cannot read trace"), "{error}");
}

#[test]
fn pings_see_the_queue() {
    let mut network = network("20mbit/20ms/queue200ms", "down", Factory::default());
    network.algorithm = Algorithm::Cubic;
    network.pings = Some(Duration::from_millis(100));
    let pings = measured(&network).links.swap_remove(0).pings;
    let longest = pings.iter().copied().fold(0.0, f64::max);
    assert!(pings.len() >= 75 && pings[0] < 25.0, "{pings:?}");
    assert!((150.0..225.0).contains(&longest), "{longest}");
}

#[test]
fn a_window_bounds_what_is_on_its_way() {
    let mut network = network("100mbit/100ms", "down", Factory::default());
    network.limit_window(500_000);
    let run = measured(&network);
    // Half a megabyte each round trip, of which some is spent waiting for acknowledgements.
    assert!(
        (20.0..40.0).contains(&run.goodput(SKIP)),
        "{}",
        run.goodput(SKIP)
    );
}

#[test]
fn programs_are_metered_and_bad_ones_are_incidents() {
    let good = Bpf::embedded("bpf_rr").expect("it is built in");
    let run = measured(&network(
        "20mbit/20ms,20mbit/20ms",
        "down",
        good.factory(Settings::default()),
    ));
    assert!(run.decisions > 100 && run.instructions_each() > 10.0);
    assert_eq!(run.ejected(), None);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bpf/zoo/z_endless.bpf.o");
    let object = std::fs::read(file).expect("an object of the zoo");
    let bad = Bpf::load("z_endless", &object).expect("it loads");
    let run = measured(&network(
        "20mbit/20ms,20mbit/20ms",
        "down",
        bad.factory(Settings::default()),
    ));
    assert_eq!(run.ejected(), Some(Reason::FuelExhausted));
    near(run.goodput(SKIP), 38.0, 5.0);
}

#[test]
fn what_was_measured_is_drawn() {
    let runs = ["default", "minrtt"]
        .map(|name| measured(&network("20mbit/20ms,10mbit/60ms", "down", named(name))));
    let drawn = plot::svg("two links", &runs).expect("a plot");
    assert!(drawn.starts_with("<svg") && drawn.trim_end().ends_with("</svg>"));
    for text in ["two links", "default", "minrtt", "Mbit/s", "longest pause"] {
        assert!(drawn.contains(text), "{text}");
    }
}
