//! A trial: a scheduler beside `default`, over links like those that people have.
//!
//! The courses are five that every scheduler is taken over, and others over links of one's own: once nothing
//! happens to them, and once each of them falls silent under a download.

use std::time::Duration;

use guywire_lab::scenario::{Event, Scenario};
use guywire_lab::spec::{LinkSpec, LinkSpecs, LinkState, RateSpec, Verb};
use guywire_sched::{Factory, Reason};
use serde::{Serialize, Serializer};

use crate::measured::Measured;
use crate::scenario::ScenarioError;
use crate::sweep::on_all_cores;
use crate::workload::Workload;
use crate::{Failure, measure, scenario};

/// The scenarios of the repository, which the lab plays too.
const FIXED: [(&str, &str); 5] = [
    ("equal", include_str!("../../../scenarios/equal.toml")),
    ("unequal", include_str!("../../../scenarios/unequal.toml")),
    ("lossy", include_str!("../../../scenarios/lossy.toml")),
    ("queue", include_str!("../../../scenarios/queue.toml")),
    ("outage", include_str!("../../../scenarios/outage.toml")),
];
/// How long a course over links of one's own takes, when a link falls silent, and for how long.
const OWN: Duration = Duration::from_secs(12);
const CUT_AT: Duration = Duration::from_secs(5);
const CUT: Duration = Duration::from_secs(3);
/// The beginning of a transfer says little of what follows.
const SKIP: Duration = Duration::from_secs(2);
/// Who pauses for this share of a cut waited for the link instead of using the others.
const WAITED: f64 = 0.5;
/// Who moves less than this share of what the slowest link carries alone is of no use, whatever it is for.
const OF_SLOWEST: f64 = 0.5;

/// What a scheduler is taken over.
#[derive(Clone, Debug)]
pub struct Course {
    /// Its name, for people.
    pub name: String,
    /// The links are one's own.
    pub own: bool,
    scenario: Scenario,
}

/// The courses that are the same for all.
pub fn fixed() -> Vec<Course> {
    let course = |(name, text): &(&str, &str)| Course {
        name: (*name).to_owned(),
        own: false,
        scenario: Scenario::parse(text).expect("a test reads them"),
    };
    FIXED.iter().map(course).collect()
}

/// Courses over these links.
pub fn over(links: &LinkSpecs) -> Vec<Course> {
    let course = |name: String, events: Vec<Event>| Course {
        name,
        own: true,
        scenario: Scenario {
            links: links.clone(),
            duration: OWN,
            seed: 1,
            events,
            transfers: Workload::Down.transfers(),
        },
    };
    let mut courses = vec![course("your links".to_owned(), Vec::new())];
    let count = links.0.len();
    // A single link has nothing to fall back on.
    for link in (1..=count).filter(|_| count > 1) {
        let event = |at, state| Event {
            at,
            link,
            verb: Verb::State(state),
        };
        let events = vec![
            event(CUT_AT, LinkState::Silent),
            event(CUT_AT + CUT, LinkState::Up),
        ];
        courses.push(course(format!("your link {link} cut"), events));
    }
    courses
}

/// What came of a course.
#[derive(Clone, Debug, Serialize)]
pub struct Tried {
    /// The name of the course.
    pub course: String,
    /// The links are one's own.
    pub own: bool,
    /// Goodput in Mbit/s.
    pub mbps: f64,
    /// That of `default`.
    pub default_mbps: f64,
    /// The longest pause in seconds.
    pub pause: f64,
    /// That of `default`.
    pub default_pause: f64,
    /// Bytes that were sent more than once, as a share of those that arrived.
    pub twice: f64,
    /// For how many seconds a link was silent, if one was.
    pub cut: Option<f64>,
    /// What the slowest link carries alone, in Mbit/s, if that is known.
    pub slowest_mbps: Option<f64>,
    /// Why it was ejected, if it was.
    #[serde(serialize_with = "reason")]
    pub ejected: Option<Reason>,
}

fn reason<S: Serializer>(reason: &Option<Reason>, serializer: S) -> Result<S::Ok, S::Error> {
    reason.map(Reason::name).serialize(serializer)
}

impl Tried {
    /// How much faster than `default` it was, in percent; below zero if slower.
    pub fn gain(&self) -> f64 {
        (self.mbps / self.default_mbps - 1.0) * 100.0
    }

    /// Whether it used the other links while one was silent, if one was.
    pub fn survived(&self) -> Option<bool> {
        Some(self.pause < self.cut? * WAITED)
    }

    /// What speaks against relying on it.
    pub fn objection(&self) -> Option<String> {
        let course = &self.course;
        if let Some(reason) = self.ejected {
            return Some(format!("{course}: ejected: {reason}"));
        }
        if self.survived() == Some(false) {
            let (pause, cut) = (self.pause, self.cut.unwrap_or_default());
            return Some(format!(
                "{course}: a pause of {pause:.1} s while a link was silent for {cut:.0} s"
            ));
        }
        let slowest = self.slowest_mbps?;
        (self.mbps < slowest * OF_SLOWEST).then(|| {
            let mbps = self.mbps;
            format!(
                "{course}: {mbps:.1} Mbit/s, and the slowest link alone carries {slowest:.1} Mbit/s"
            )
        })
    }
}

/// Why a trial could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The links cannot be simulated.
    #[error(transparent)]
    Links(#[from] ScenarioError),
    /// The simulation itself failed.
    #[error("{course}: {failure}")]
    Failed {
        /// The course.
        course: String,
        /// What went wrong.
        failure: Box<Failure>,
    },
}

/// Takes a scheduler and `default` over all courses, on all cores.
///
/// # Errors
/// What went wrong first.
pub fn trial(factory: &Factory, courses: &[Course]) -> Result<Vec<Tried>, TrialError> {
    let compared = compare(std::slice::from_ref(factory), courses)?;
    Ok(compared.into_iter().flatten().collect())
}

/// Takes several schedulers over all courses, on all cores: for each of them, what came of each course beside
/// `default`.
///
/// # Errors
/// What went wrong first.
pub fn compare(factories: &[Factory], courses: &[Course]) -> Result<Vec<Vec<Tried>>, TrialError> {
    let default = Factory::default();
    let all = || std::iter::once(&default).chain(factories);
    let runs: Vec<(&Course, &Factory)> = all()
        .flat_map(|factory| courses.iter().map(move |course| (course, factory)))
        .collect();
    let played = on_all_cores(&runs, |(course, factory)| course.play(factory));
    let played: Vec<Measured> = played.into_iter().collect::<Result<_, _>>()?;
    let (by_default, others) = played.split_at(courses.len());
    let of_one = |measured: &[Measured]| {
        let pairs = measured.iter().zip(by_default);
        let tried = courses.iter().zip(pairs);
        tried.map(|(course, pair)| course.compare(pair)).collect()
    };
    // Without courses there is nothing to tell of anybody.
    Ok(others.chunks(courses.len().max(1)).map(of_one).collect())
}

impl Course {
    fn play(&self, factory: &Factory) -> Result<Measured, TrialError> {
        let network = scenario::network(&self.scenario, factory.clone())?;
        measure(&network).map_err(|failure| TrialError::Failed {
            course: self.name.clone(),
            failure: Box::new(failure),
        })
    }

    fn compare(&self, (candidate, default): (&Measured, &Measured)) -> Tried {
        let cut = !self.scenario.events.is_empty();
        Tried {
            course: self.name.clone(),
            own: self.own,
            mbps: candidate.goodput(SKIP),
            default_mbps: default.goodput(SKIP),
            pause: candidate.longest_gap(),
            default_pause: default.longest_gap(),
            twice: candidate.repeated_share(),
            cut: cut.then_some(CUT.as_secs_f64()),
            slowest_mbps: self.slowest(),
            ejected: candidate.ejected(),
        }
    }

    /// What the slowest link carries, in Mbit/s; `None` where that wanders, as a trace says.
    fn slowest(&self) -> Option<f64> {
        let rates = self.scenario.links.0.iter().map(|link| match link {
            LinkSpec::Emulated(link) => match link.down.rate {
                RateSpec::Fixed(rate) => Some(rate.bits_per_second() as f64 / 1e6),
                RateSpec::Trace(_) => None,
            },
            LinkSpec::Veth => None,
        });
        rates.reduce(|a, b| Some(a?.min(b?))).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedulers;

    #[test]
    fn the_outage_is_as_long_as_a_cut_of_ones_own() {
        for course in fixed() {
            let Some([begin, end]) = course.scenario.events.first_chunk() else {
                continue;
            };
            assert_eq!(end.at - begin.at, CUT, "{}", course.name);
        }
    }

    #[test]
    fn nothing_speaks_against_what_is_built_in() {
        let courses = fixed();
        for factory in schedulers::all() {
            let tried = trial(&factory, &courses).expect("a trial");
            let objections: Vec<String> = tried.iter().filter_map(Tried::objection).collect();
            assert!(objections.is_empty(), "{}: {objections:?}", factory.name());
        }
    }

    #[test]
    fn each_link_of_ones_own_is_cut_once() {
        let links: LinkSpecs = "30mbit/20ms,10mbit/60ms".parse().expect("links");
        let tried = trial(&Factory::default(), &over(&links)).expect("a trial");
        let cuts: Vec<Option<bool>> = tried.iter().map(Tried::survived).collect();
        assert_eq!(cuts, [None, Some(true), Some(true)]);
        assert!(tried.iter().all(|it| it.gain() == 0.0 && it.own));
        let single: LinkSpecs = "30mbit/20ms".parse().expect("a link");
        assert_eq!(over(&single).len(), 1);
    }

    #[test]
    fn what_speaks_against_one_is_told() {
        let tried = Tried {
            course: "outage".into(),
            own: false,
            mbps: 3.0,
            default_mbps: 60.0,
            pause: 0.1,
            default_pause: 0.1,
            twice: 0.0,
            cut: Some(3.0),
            slowest_mbps: Some(30.0),
            ejected: None,
        };
        let slow = tried.objection().expect("it is slow");
        assert!(slow.contains("the slowest link alone"), "{slow}");
        let waits = Tried {
            pause: 2.9,
            ..tried.clone()
        };
        let text = waits.objection().expect("it waits");
        assert!(text.contains("a pause of 2.9 s"), "{text}");
        let ejected = Tried {
            ejected: Some(Reason::Stalled),
            ..tried
        };
        let text = ejected.objection().expect("it was ejected");
        assert!(text.contains("stalled"), "{text}");
    }
}
