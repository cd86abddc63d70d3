//! Schedulers as people and messages name them, and as sessions use them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use data_encoding::HEXLOWER;
use guywire_control::worker::{
    Answer, Budget, ChosenScheduler, Ejection, MapSetting, SchedulerId, SchedulerReport,
    SchedulerSetup, TracedDecision,
};
use guywire_ebpf::embedded;
use guywire_ebpf::scheduler::{Bpf, Settings, Several};
use guywire_flow::record::{ChoiceResult, Fate, MAX_OBJECT};
use guywire_flow::{Incident, Session};
use guywire_sched::guard::{Decision, Limits, Question};
use guywire_sched::{Factory, MapValue, Reason, native};
use guywire_transport::router::{ClassReport, Scheduling};
use guywire_transport::session::SessionHandle;

use super::router::SERVER;

/// What the sessions of a worker hold schedulers to.
pub(super) fn limits(budget: Budget) -> Limits {
    Limits {
        share: f64::from(budget.share) / 100.0,
        ..Limits::default()
    }
}

/// How a BPF scheduler is to be run.
pub(super) fn settings(budget: Budget, in_turn: bool, maps: &[MapValue]) -> Settings {
    Settings {
        fuel: budget.instructions,
        several: match in_turn {
            true => Several::InTurn,
            false => Several::Copies,
        },
        maps: maps.to_vec(),
    }
}

/// The object that is built in with this name and hash.
pub(super) fn built_in(name: &str, hash: [u8; 32]) -> Option<(Bpf, &'static [u8])> {
    let found = embedded::find(name).filter(|embedded| embedded.hash() == hash)?;
    Some((Bpf::embedded(name)?, found.object))
}

/// What a router's worker is told to schedule with, by class. What cannot be had is `default`, with the reason
/// in the second part.
pub(super) fn of_setup(
    setup: &SchedulerSetup,
    objects: Vec<OwnedFd>,
    budget: Budget,
) -> (BTreeMap<u8, Scheduling>, Vec<String>) {
    let objects: BTreeMap<&str, OwnedFd> =
        setup.fds.iter().map(String::as_str).zip(objects).collect();
    let (mut schedulers, mut problems) = (BTreeMap::new(), Vec::new());
    for chosen in &setup.chosen {
        let found = scheduling(chosen, &objects, budget);
        let scheduling = found.unwrap_or_else(|error| {
            problems.push(format!(
                "the scheduler {} cannot be used, `default` is: {error:#}",
                chosen.id
            ));
            Scheduling::default()
        });
        schedulers.insert(chosen.class, scheduling);
    }
    (schedulers, problems)
}

fn scheduling(
    chosen: &ChosenScheduler,
    objects: &BTreeMap<&str, OwnedFd>,
    budget: Budget,
) -> anyhow::Result<Scheduling> {
    let name = chosen.id.name.as_str();
    let Some(hash) = &chosen.id.hash else {
        let native = native(name).context("there is none of this name")?;
        return Ok(Scheduling {
            factory: Factory::from(native),
            ..Scheduling::default()
        });
    };
    let maps = chosen
        .maps
        .iter()
        .map(map_value)
        .collect::<anyhow::Result<Vec<_>>>()?;
    let (bpf, object) = match objects.get(hash.as_str()) {
        Some(file) => {
            let object = read(file)?;
            (Bpf::load(name, &object)?, object.into())
        }
        None => {
            let found = bytes_of(hash).and_then(|hash| built_in(name, hash));
            let (bpf, object) = found.context("its object is not there")?;
            (bpf, Arc::from(object))
        }
    };
    if HEXLOWER.encode(&bpf.hash()) != *hash {
        bail!("its object has changed on disk");
    }
    Ok(Scheduling {
        factory: bpf.factory(settings(budget, chosen.in_turn, &maps)),
        in_turn: chosen.in_turn,
        maps,
        object: Some(object),
    })
}

fn read(file: &OwnedFd) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = MAX_OBJECT as u64 + 1;
    File::from(file.try_clone()?)
        .take(most)
        .read_to_end(&mut bytes)
        .context("cannot read its object")?;
    Ok(bytes)
}

fn bytes_of(hash: &str) -> Option<[u8; 32]> {
    HEXLOWER.decode(hash.as_bytes()).ok()?.try_into().ok()
}

fn map_value(setting: &MapSetting) -> anyhow::Result<MapValue> {
    let bytes = |hex: &str| {
        HEXLOWER
            .decode(hex.as_bytes())
            .map_err(|error| anyhow!("map {}: {hex}: {error}", setting.map))
    };
    Ok(MapValue {
        map: setting.map.clone(),
        key: bytes(&setting.key)?,
        value: bytes(&setting.value)?,
    })
}

/// How a scheduler is named to the supervisor.
pub(super) fn id(factory: &Factory) -> SchedulerId {
    SchedulerId {
        name: factory.name().to_owned(),
        hash: factory.hash().map(|hash| HEXLOWER.encode(&hash)),
    }
}

/// An ejection as the supervisor is told of it.
pub(super) fn ejection(session: &str, incident: Incident) -> Ejection {
    let path = |path: &guywire_flow::PathReport| {
        let (number, state, subflows) = (path.path, path.state, path.subflows);
        let (srtt, rate) = (path.srtt.as_secs_f64() * 1e3, path.rate as f64 * 8.0 / 1e6);
        format!("path {number}: {state}, {srtt:.1} ms, {rate:.1} Mbit/s, {subflows} connections")
    };
    let before = incident.decisions.len() as u64;
    let decisions = (0..before).zip(&incident.decisions);
    Ejection {
        scheduler: id(&incident.scheduler),
        session: session.to_owned(),
        reason: incident.offence.reason.name().to_owned(),
        text: incident.offence.text,
        flow: incident.flow,
        pc: incident.offence.pc,
        listing: incident.offence.listing,
        decisions: decisions
            .map(|(number, decision)| traced(session, 0, number, decision))
            .collect(),
        paths: incident.paths.iter().map(path).collect(),
        log: incident.log,
    }
}

/// What a router knows of an ejection at its server.
pub(super) fn at_the_server(scheduler: &Factory, reason: Reason, text: &str) -> Ejection {
    Ejection {
        scheduler: id(scheduler),
        session: SERVER.to_owned(),
        reason: reason.name().to_owned(),
        text: format!("at the server: {text}"),
        flow: 0,
        pc: None,
        listing: Vec::new(),
        decisions: Vec::new(),
        paths: Vec::new(),
        log: Vec::new(),
    }
}

pub(super) fn traced(session: &str, class: u8, number: u64, decision: &Decision) -> TracedDecision {
    let paths = || decision.paths();
    TracedDecision {
        session: session.to_owned(),
        class,
        number,
        at_us: decision.at.as_nanos() / 1_000,
        flow: decision.flow,
        retrans: decision.question == Question::Retrans,
        shown: paths().map(|(path, _)| path).collect(),
        marked: paths()
            .filter(|(_, marked)| *marked)
            .map(|(path, _)| path)
            .collect(),
    }
}

/// A router's class as status shows it.
pub(super) fn report(session: &str, report: &ClassReport, decisions: u64) -> SchedulerReport {
    SchedulerReport {
        session: session.to_owned(),
        class: report.class,
        here: id(&report.here),
        asked: Some(id(&report.asked)),
        answer: report.answer.as_ref().and_then(answer),
        decisions,
    }
}

/// What schedules the classes of a router at its server.
pub(super) fn reports(name: &str, session: &SessionHandle) -> Vec<SchedulerReport> {
    let report = |session: &Session, class, here: &Factory| SchedulerReport {
        session: name.to_owned(),
        class,
        here: id(here),
        asked: None,
        answer: None,
        decisions: session.decisions(class).0,
    };
    session.with(|session, _| {
        let classes = session.schedulers();
        classes
            .map(|(class, here)| report(session, class, here))
            .collect()
    })
}

fn answer(result: &ChoiceResult) -> Option<Answer> {
    let text = result.text.clone();
    match result.fate {
        Fate::InUse => Some(Answer::InUse),
        Fate::Wanted => None,
        Fate::Refused => Some(Answer::Refused { text }),
        Fate::Ejected(reason) => Some(Answer::Ejected {
            reason: reason.name().to_owned(),
            text,
        }),
    }
}
