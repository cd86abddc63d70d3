//! Bad schedulers under flows that must not notice: every byte arrives, and what becomes of the scheduler
//! is what its table says.

use std::path::{Path, PathBuf};

use guywire_ebpf::scheduler::{Bpf, Settings};
use guywire_lab::scenario::Scenario;
use guywire_sched::{Factory, FlowView, Marks, Reason, Scheduler};
use guywire_sim::{Outcome, replay, scenario};
use serde::Deserialize;

const LINKS: &str = r#"
links = ["100mbit/20ms", "50mbit/40ms"]
duration = "60s"
seed = 5

[[transfers]]
direction = "down"
bytes = 30000000
flows = 2

[[transfers]]
direction = "up"
bytes = 4000000
"#;

#[derive(Deserialize)]
struct Zoo {
    member: Vec<Member>,
}

#[derive(Deserialize)]
struct Member {
    name: String,
    outcome: Fate,
    reason: Option<String>,
}

#[derive(Deserialize, Debug, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Fate {
    Refused,
    Ejected,
    Harmless,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bpf/zoo")
}

/// Plays the links with a scheduler at both ends: nothing may be lost, whatever it does.
#[track_caller]
fn play(factory: Factory) -> Outcome {
    let name = factory.name().to_owned();
    let links = Scenario::parse(LINKS).expect("a scenario");
    let mut network = scenario::network(&links, factory).expect("links with rates");
    // Whatever it does, all of it has to arrive.
    network.until = None;
    let outcome = replay(&network).unwrap_or_else(|failure| panic!("{name}: {failure}"));
    assert_eq!(
        (outcome.seen.complete, outcome.seen.bytes),
        (3, 64_000_000),
        "{name}"
    );
    outcome
}

/// What becomes of it, and why.
fn fate(outcome: &Outcome) -> (Fate, Option<Reason>) {
    match outcome.ejected.first() {
        Some(ejected) => (Fate::Ejected, Some(ejected.reason)),
        None => (Fate::Harmless, None),
    }
}

#[test]
fn every_member_ends_as_its_table_says() {
    let table = std::fs::read_to_string(folder().join("zoo.toml")).expect("the table");
    let zoo: Zoo = toml_edit::de::from_str(&table).expect("it is as above");
    let mut wrong = Vec::new();
    for member in &zoo.member {
        let file = folder().join(format!("{}.bpf.o", member.name));
        let object = std::fs::read(file).expect("its object");
        let found = match Bpf::load(&member.name, &object) {
            Err(unfit) => (Fate::Refused, Some(unfit.reason())),
            Ok(bpf) => fate(&play(bpf.factory(Settings::default()))),
        };
        let reason = member.reason.as_deref().and_then(Reason::by_name);
        if found != (member.outcome, reason) {
            wrong.push(format!("{}: {found:?}", member.name));
        }
    }
    assert!(zoo.member.len() >= 13 && wrong.is_empty(), "{wrong:#?}");
}

/// A native scheduler made of a function.
struct Native(fn(&FlowView<'_>, &mut Marks));

impl Scheduler for Native {
    fn get_send(&mut self, flow: &FlowView<'_>, marks: &mut Marks) {
        (self.0)(flow, marks);
    }
}

#[track_caller]
fn native_ends(name: &str, decide: fn(&FlowView<'_>, &mut Marks), reason: Option<Reason>) {
    let factory = Factory::new(name, move || Box::new(move || Box::new(Native(decide))));
    let outcome = play(factory);
    assert_eq!(fate(&outcome).1, reason, "{name}: {:?}", outcome.ejected);
}

#[test]
fn native_ones_are_ejected_too() {
    native_ends(
        "panics",
        |_, _| panic!("as it must not"),
        Some(Reason::Panicked),
    );
    native_ends("never marks", |_, _| (), Some(Reason::Stalled));
    let full = |flow: &FlowView<'_>, marks: &mut Marks| {
        let full = flow.subflows.iter().position(|subflow| subflow.room == 0);
        full.into_iter().for_each(|position| marks.mark(position));
    };
    native_ends("marks full ones only", full, Some(Reason::Stalled));
    let stranger = |_: &FlowView<'_>, marks: &mut Marks| marks.mark(7);
    native_ends("marks a stranger", stranger, Some(Reason::MarkedStranger));
    // Waits for a full link as soon as there is one: `default` steps in until that is too often.
    let prefers_full = |flow: &FlowView<'_>, marks: &mut Marks| {
        let worst = (0..flow.subflows.len()).min_by_key(|&at| flow.subflows[at].room);
        worst.into_iter().for_each(|position| marks.mark(position));
    };
    native_ends("prefers full ones", prefers_full, None);
}
