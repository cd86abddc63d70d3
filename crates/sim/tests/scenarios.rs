//! A scenario file of the lab, played in simulation.

use guywire_lab::scenario::Scenario;
use guywire_sched::Factory;
use guywire_sim::replay;
use guywire_sim::scenario::{ScenarioError, network};

const CUT: &str = r#"
links = ["100mbit/20ms", "50mbit/60ms", "20mbit/120ms/loss0.5%"]
duration = "30s"
seed = 7

[[transfers]]
direction = "down"
at = "1s"
bytes = 8000000

[[transfers]]
direction = "up"
bytes = 1000000
flows = 3

[[events]]
at = "1.2s"
link = 1
verb = "silent"

[[events]]
at = "3s"
link = 1
verb = "up"
"#;

#[test]
fn the_labs_scenarios_run_here_too() {
    let scenario = Scenario::parse(CUT).expect("a scenario");
    for scheduler in guywire_sched::NATIVE {
        let network = network(&scenario, scheduler.into()).expect("links with rates");
        let outcome = replay(&network).unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(outcome.seen.complete, 4, "{}", scheduler.name);
        assert_eq!(outcome.seen.bytes, 11_000_000);
        assert!(outcome.seen.swallowed_data > 0 && outcome.seen.stale > 0);
    }
}

#[test]
fn what_cannot_be_simulated_is_named() {
    let scenario = Scenario::parse("links = [\"veth\"]\nduration = \"1s\"").expect("a scenario");
    let refused = network(&scenario, Factory::default()).err();
    assert_eq!(refused, Some(ScenarioError::Veth { link: 1 }));
}
