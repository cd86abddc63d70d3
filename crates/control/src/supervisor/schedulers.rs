//! Which schedulers are to be used, and which are not any more: what people chose while it runs, and the
//! quarantine, both kept in `schedulers.json` of the state directory; objects beside it, named by their hash.
//!
//! Shared by the control socket, which changes it, and the supervisor's loop, which tells the worker. It writes to
//! disk: not to be called from the loop but for [`Schedulers::setup`] and [`Schedulers::quarantined`].

mod trial;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest;
use data_encoding::{BASE64, HEXLOWER};
use guywire_ebpf::embedded;
use guywire_flow::record::{MAX_MAP_BYTES, MAX_MAP_VALUES, MAX_NAME, MAX_OBJECT};
use guywire_sched::native;
use serde::{Deserialize, Serialize};

use super::status;
use crate::store::{FileError, StoreError, files};
use crate::worker::{
    ChosenScheduler, ClassRule, ClassSetup, Ejection, MapSetting, SchedulerId, SchedulerSetup,
};
pub(super) use trial::EndedTrial;
use trial::Trial;

/// Most schedulers in quarantine. When it is full, no objects of one's own are taken until some are pardoned.
pub const MAX_QUARANTINED: usize = 64;
/// Longest trial, in seconds: a day.
pub const MAX_TRIAL: u64 = 86_400;
/// Longest explanation that is kept, in characters.
const MAX_TEXT: usize = 300;

/// Body of `POST /schedulers`: what is to schedule the flows of a class.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UseRequest {
    /// Name of the class; `None`: all other traffic.
    pub class: Option<String>,
    /// What is to schedule it; `None`: what the configuration says.
    pub choice: Option<ChoiceRequest>,
    /// After so many seconds, at most [`MAX_TRIAL`], what scheduled it before does so again.
    #[serde(default)]
    pub trial_secs: Option<u64>,
}

/// What is to schedule the flows of a class.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChoiceRequest {
    /// Its name; one that is built in, unless an object comes with it.
    pub name: String,
    /// The object, base64.
    pub object: Option<String>,
    /// Where the object came from, for people.
    pub source: Option<String>,
    /// What `guywire sched check` says of it, or that nobody asked.
    pub verdict: String,
    /// Of several that are marked each takes the next chunk, as in the kernel.
    pub in_turn: bool,
    /// What its maps hold at first.
    pub maps: Vec<MapSetting>,
}

/// A choice that lasts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    /// The scheduler.
    pub id: SchedulerId,
    /// It is not built in.
    pub own: bool,
    /// Where it came from.
    pub source: Option<String>,
    /// What was said of it when it was chosen.
    pub verdict: String,
    /// See [`ChoiceRequest::in_turn`].
    pub in_turn: bool,
    /// See [`ChoiceRequest::maps`].
    pub maps: Vec<MapSetting>,
}

/// `default` itself.
impl Default for Chosen {
    fn default() -> Self {
        Self {
            id: by_default(0).id,
            own: false,
            source: None,
            verdict: "works".into(),
            in_turn: false,
            maps: Vec::new(),
        }
    }
}

/// A scheduler that is not used any more until somebody pardons it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// The scheduler.
    pub id: SchedulerId,
    /// Name of the reason for which it was ejected.
    pub reason: String,
    /// What happened.
    pub text: String,
    /// Seconds since 1970.
    pub at: u64,
}

/// Part of the answer to `GET /schedulers`: a class, and what is to schedule it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassAnswer {
    /// Its number; 0 is all other traffic.
    pub id: u8,
    /// Its name; empty for all other traffic.
    pub name: String,
    /// What the configuration says; `None`: as all other traffic.
    pub configured: Option<String>,
    /// What was chosen while it ran.
    pub chosen: Option<Chosen>,
    /// That is on trial until then, in seconds since 1970.
    #[serde(default)]
    pub trial_until: Option<u64>,
}

/// Why a choice or a pardon is not accepted.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChoiceError {
    /// The router chooses.
    #[error(
        "a server schedules as its routers choose; run `guywire sched use` there, and `server.toml` says who may send objects"
    )]
    Server,
    /// No such class.
    #[error("there is no class `{wanted}`{}; classes are defined in router.toml", suggest(.known))]
    NoClass {
        /// What was asked for.
        wanted: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// Neither built in nor an object.
    #[error("there is no scheduler `{0}`; `guywire sched list` shows all, or name an object file")]
    NoScheduler(String),
    /// The object cannot be taken.
    #[error("{0}")]
    Object(String),
    /// Something about its maps.
    #[error("{0}")]
    Maps(String),
    /// A trial of something else than a scheduler, or without an end.
    #[error(
        "a trial is of a scheduler and takes 1 to {MAX_TRIAL} seconds; `configured` goes back to what the configuration says for good"
    )]
    Trial,
    /// It was ejected before.
    #[error(
        "{id} was ejected ({reason}: {text}) and stays out until somebody says `guywire sched pardon {name}`",
        id = .0.id, reason = .0.reason, text = .0.text, name = .0.id.name
    )]
    Quarantined(Box<Quarantined>),
    /// Nothing of that name is in quarantine.
    #[error("no scheduler `{0}` is in quarantine; `guywire sched list` shows those that are")]
    NotQuarantined(String),
    /// The quarantine is full.
    #[error(
        "{MAX_QUARANTINED} schedulers are in quarantine: no object is taken until some are pardoned (`guywire sched pardon`)"
    )]
    Full,
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
}

fn suggest(classes: &[String]) -> String {
    match classes {
        [] => String::new(),
        classes => format!("; there are `{}`", classes.join("`, `")),
    }
}

/// A class as configured.
#[derive(Debug, Clone)]
pub(super) struct Class {
    /// Empty for all other traffic.
    pub(super) name: String,
    pub(super) scheduler: Option<String>,
    pub(super) rule: ClassRule,
}

/// What lasts.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Stored {
    /// By name of the class.
    chosen: BTreeMap<String, Chosen>,
    quarantine: Vec<Quarantined>,
    /// By name of the class.
    #[serde(default)]
    trials: BTreeMap<String, Trial>,
}

/// How people are told of a class of traffic, by its number and, where that is known, its name.
pub fn class_label(id: u8, name: Option<&str>) -> String {
    match (id, name) {
        (0, _) => "all else".to_owned(),
        (_, Some(name)) if !name.is_empty() => name.to_owned(),
        (id, _) => format!("class {id}"),
    }
}

/// The choices of a router, or the quarantine of a server.
#[derive(Debug)]
pub(super) struct Schedulers {
    file: PathBuf,
    objects: PathBuf,
    /// By number, 0 first; empty on a server.
    classes: Vec<Class>,
    stored: Mutex<Stored>,
}

impl Schedulers {
    /// Reads what was stored. A damaged file is set aside: the configuration holds then.
    pub(super) fn open(state_dir: &Path, classes: Vec<Class>) -> Result<Self, StoreError> {
        let objects = state_dir.join("schedulers");
        files::private_dir(&objects)?;
        let file = state_dir.join("schedulers.json");
        let stored = match files::read(&file) {
            Ok(text) => serde_json::from_str(&text).unwrap_or_else(|error| {
                let aside = file.with_extension("json.damaged");
                tracing::error!(%error, "{} is damaged; it is kept as {}", file.display(), aside.display());
                let _ = std::fs::rename(&file, &aside);
                Stored::default()
            }),
            Err(error) if error.is_missing() => Stored::default(),
            Err(error) => return Err(error.into()),
        };
        Ok(Self {
            file,
            objects,
            classes,
            stored: Mutex::new(stored),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Stored> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a choice.
    pub(super) fn choose(&self, request: UseRequest) -> Result<(), ChoiceError> {
        let class = self.class(request.class)?;
        let ends = request
            .trial_secs
            .is_none_or(|secs| (1..=MAX_TRIAL).contains(&secs));
        if !ends || (request.choice.is_none() && request.trial_secs.is_some()) {
            return Err(ChoiceError::Trial);
        }
        let Some(choice) = request.choice else {
            let mut stored = self.lock();
            stored.chosen.remove(&class);
            stored.trials.remove(&class);
            return Ok(self.save(&stored)?);
        };
        check_maps(&choice.maps)?;
        let object = choice.object.as_deref().map(object).transpose()?;
        let id = match &object {
            Some(object) => SchedulerId {
                name: object_name(choice.name)?,
                hash: Some(HEXLOWER.encode(digest::digest(&digest::SHA256, object).as_ref())),
            },
            None => built_in(&choice.name).ok_or(ChoiceError::NoScheduler(choice.name))?,
        };
        let mut stored = self.lock();
        if let Some(quarantined) = stored.quarantine.iter().find(|entry| entry.id == id) {
            return Err(ChoiceError::Quarantined(Box::new(quarantined.clone())));
        }
        if let (Some(object), Some(hash)) = (&object, &id.hash) {
            if stored.quarantine.len() >= MAX_QUARANTINED {
                return Err(ChoiceError::Full);
            }
            files::write(&self.objects.join(format!("{hash}.o")), object)?;
        }
        let chosen = Chosen {
            id,
            own: object.is_some(),
            source: choice.source,
            verdict: choice.verdict,
            in_turn: choice.in_turn,
            maps: choice.maps,
        };
        let trial = stored.trials.remove(&class);
        if let Some(secs) = request.trial_secs {
            // A trial in the place of another one goes back to what was there before both.
            let began = status::now();
            let trial = Trial {
                began,
                until: began.saturating_add(secs),
                before: match trial {
                    Some(earlier) => earlier.before,
                    None => stored.chosen.get(&class).cloned(),
                },
            };
            stored.trials.insert(class.clone(), trial);
        }
        stored.chosen.insert(class, chosen);
        self.save(&stored)?;
        self.remove_unused(&stored);
        Ok(())
    }

    fn class(&self, name: Option<String>) -> Result<String, ChoiceError> {
        if self.classes.is_empty() {
            return Err(ChoiceError::Server);
        }
        let name = name.unwrap_or_default();
        if self.classes.iter().any(|class| class.name == name) {
            return Ok(name);
        }
        let named = self.classes.iter().map(|class| class.name.clone());
        Err(ChoiceError::NoClass {
            wanted: name,
            known: named.filter(|name| !name.is_empty()).collect(),
        })
    }

    /// Puts a scheduler that was ejected into quarantine; it is not chosen any more either, so that a pardon alone does
    /// not bring it back.
    pub(super) fn quarantine(&self, ejection: &Ejection) -> Result<(), FileError> {
        let mut stored = self.lock();
        for (id, class) in (0..).zip(&self.classes) {
            let used = effective(&stored, id, class);
            if used.is_some_and(|(chosen, _)| chosen.id == ejection.scheduler) {
                stored.chosen.insert(class.name.clone(), Chosen::default());
                stored.trials.remove(&class.name);
            }
        }
        let known = |entry: &Quarantined| entry.id == ejection.scheduler;
        if stored.quarantine.iter().any(known) {
            return self.save(&stored);
        }
        if stored.quarantine.len() >= MAX_QUARANTINED {
            tracing::error!(scheduler = %ejection.scheduler, "the quarantine is full");
            return self.save(&stored);
        }
        stored.quarantine.push(Quarantined {
            id: ejection.scheduler.clone(),
            reason: ejection.reason.clone(),
            text: ejection.text.chars().take(MAX_TEXT).collect(),
            at: status::now(),
        });
        self.save(&stored)
    }

    /// Lets those that `word` means be used again; says which they are.
    pub(super) fn pardon(&self, word: &str) -> Result<Vec<Quarantined>, ChoiceError> {
        let mut stored = self.lock();
        let (pardoned, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut stored.quarantine)
            .into_iter()
            .partition(|entry| entry.id.is_meant_by(word));
        stored.quarantine = kept;
        if pardoned.is_empty() {
            return Err(ChoiceError::NotQuarantined(word.to_owned()));
        }
        self.save(&stored)?;
        Ok(pardoned)
    }

    /// Those in quarantine.
    pub(super) fn quarantined(&self) -> Vec<Quarantined> {
        self.lock().quarantine.clone()
    }

    /// The classes, and what was chosen for them.
    pub(super) fn classes(&self) -> Vec<ClassAnswer> {
        let stored = self.lock();
        let answer = |(id, class): (u8, &Class)| ClassAnswer {
            id,
            name: class.name.clone(),
            configured: class.scheduler.clone(),
            chosen: stored.chosen.get(&class.name).cloned(),
            trial_until: stored.trials.get(&class.name).map(|trial| trial.until),
        };
        (0..).zip(&self.classes).map(answer).collect()
    }

    /// What a router's worker is told, with the objects.
    pub(super) fn setup(&self) -> (SchedulerSetup, Vec<OwnedFd>) {
        let stored = self.lock();
        let (mut setup, mut objects) = (SchedulerSetup::default(), Vec::new());
        for (id, class) in (0..).zip(&self.classes) {
            if id > 0 {
                let rule = class.rule.clone();
                setup.classes.push(ClassSetup { id, rule });
            }
            let Some((mut chosen, own)) = effective(&stored, id, class) else {
                continue;
            };
            if let (true, Some(hash)) = (own, &chosen.id.hash)
                && !setup.fds.contains(hash)
            {
                match File::open(self.objects.join(format!("{hash}.o"))) {
                    Ok(file) => {
                        setup.fds.push(hash.clone());
                        objects.push(file.into());
                    }
                    Err(error) => {
                        tracing::error!(scheduler = %chosen.id, %error, "the object is lost; `default` is used");
                        chosen = by_default(id);
                    }
                }
            }
            setup.chosen.push(chosen);
        }
        (setup, objects)
    }

    fn save(&self, stored: &Stored) -> Result<(), FileError> {
        let text = serde_json::to_string_pretty(stored).expect("plain data has a text form");
        files::write(&self.file, text.as_bytes())
    }

    /// Removes the objects that no class uses.
    fn remove_unused(&self, stored: &Stored) {
        let used = |name: &str| {
            let hash = name.strip_suffix(".o");
            let of = |chosen: &Chosen| chosen.own && chosen.id.hash.as_deref() == hash;
            let before = stored
                .trials
                .values()
                .filter_map(|trial| trial.before.as_ref());
            stored.chosen.values().chain(before).any(of)
        };
        let entries = std::fs::read_dir(&self.objects).into_iter().flatten();
        for entry in entries.flatten() {
            if !entry.file_name().to_str().is_some_and(used) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

/// What schedules a class, and whether that is an object of one's own; `None`: as all other traffic.
fn effective(stored: &Stored, class: u8, configured: &Class) -> Option<(ChosenScheduler, bool)> {
    let (chosen, own) = match stored.chosen.get(&configured.name) {
        Some(chosen) => {
            let of_class = ChosenScheduler {
                class,
                id: chosen.id.clone(),
                in_turn: chosen.in_turn,
                maps: chosen.maps.clone(),
            };
            (of_class, chosen.own)
        }
        None => {
            let id = built_in(configured.scheduler.as_deref()?);
            let plain = by_default(class);
            let of_class = ChosenScheduler {
                id: id.unwrap_or(plain.id),
                ..plain
            };
            (of_class, false)
        }
    };
    let quarantined = stored.quarantine.iter().any(|entry| entry.id == chosen.id);
    Some(match quarantined {
        true => (by_default(class), false),
        false => (chosen, own),
    })
}

fn by_default(class: u8) -> ChosenScheduler {
    ChosenScheduler {
        class,
        id: SchedulerId {
            name: "default".into(),
            hash: None,
        },
        in_turn: false,
        maps: Vec::new(),
    }
}

fn built_in(name: &str) -> Option<SchedulerId> {
    let hash = match native(name) {
        Some(_) => None,
        None => Some(HEXLOWER.encode(&embedded::find(name)?.hash())),
    };
    let name = name.to_owned();
    Some(SchedulerId { name, hash })
}

fn object(base64: &str) -> Result<Vec<u8>, ChoiceError> {
    let bytes = BASE64
        .decode(base64.as_bytes())
        .map_err(|error| ChoiceError::Object(format!("the object is no base64: {error}")))?;
    if bytes.is_empty() || bytes.len() > MAX_OBJECT {
        let length = bytes.len();
        return Err(ChoiceError::Object(format!(
            "the object has {length} bytes, allowed are 1 to {MAX_OBJECT}"
        )));
    }
    Ok(bytes)
}

/// The rule of the kernel for names of schedulers.
fn object_name(name: String) -> Result<String, ChoiceError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_.".contains(&byte);
    match (1..=15).contains(&name.len()) && name.bytes().all(fits) {
        true => Ok(name),
        false => Err(ChoiceError::Object(format!(
            "{name:?} is no name of a scheduler: 1 to 15 letters, digits, `_` or `.`"
        ))),
    }
}

fn check_maps(maps: &[MapSetting]) -> Result<(), ChoiceError> {
    if maps.len() > MAX_MAP_VALUES {
        let count = maps.len();
        return Err(ChoiceError::Maps(format!(
            "{count} values for maps, at most {MAX_MAP_VALUES} may be given"
        )));
    }
    let bytes = |hex: &str| {
        let bytes = HEXLOWER.decode(hex.as_bytes()).ok();
        bytes.is_some_and(|bytes| bytes.len() <= MAX_MAP_BYTES)
    };
    let wrong = |setting: &&MapSetting| {
        setting.map.len() > MAX_NAME || !bytes(&setting.key) || !bytes(&setting.value)
    };
    match maps.iter().find(wrong) {
        None => Ok(()),
        Some(MapSetting { map, key, value }) => Err(ChoiceError::Maps(format!(
            "map `{map}`: key `{key}` or value `{value}` is no hexadecimal number of at most {MAX_MAP_BYTES} bytes"
        ))),
    }
}

#[cfg(test)]
mod tests;
