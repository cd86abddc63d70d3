//! Choices that do not last: what was there before comes back by itself, after a restart too.

use serde::{Deserialize, Serialize};

use super::{Chosen, Schedulers, Stored, class_label, effective};
use crate::store::FileError;

/// A choice that does not last.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Trial {
    /// When it began and ends, in seconds since 1970.
    pub(super) began: u64,
    pub(super) until: u64,
    /// What was chosen before it.
    pub(super) before: Option<Chosen>,
}

/// A trial that is over.
#[derive(Debug)]
pub(in crate::supervisor) struct EndedTrial {
    /// The class, as people are told of it.
    pub(in crate::supervisor) class: String,
    /// What was on trial.
    pub(in crate::supervisor) scheduler: String,
    /// What schedules the class again.
    pub(in crate::supervisor) again: String,
    /// When it began and ended, in seconds since 1970.
    pub(in crate::supervisor) began: u64,
    pub(in crate::supervisor) ended: u64,
}

impl Schedulers {
    /// When the next trial ends, in seconds since 1970.
    pub(in crate::supervisor) fn next_trial_end(&self) -> Option<u64> {
        self.lock().trials.values().map(|trial| trial.until).min()
    }

    /// Goes back from the trials that are over by `now`; says which they were.
    pub(in crate::supervisor) fn end_trials(&self, now: u64) -> Result<Vec<EndedTrial>, FileError> {
        let mut stored = self.lock();
        let mut ended = Vec::new();
        for (id, class) in (0..).zip(&self.classes) {
            let over = |trial: &&Trial| trial.until <= now;
            let Some(trial) = stored.trials.get(&class.name).filter(over).cloned() else {
                continue;
            };
            let schedules = |stored: &Stored| match effective(stored, id, class) {
                Some((chosen, _)) => chosen.id.to_string(),
                None => "what schedules all other traffic".to_owned(),
            };
            let scheduler = schedules(&stored);
            stored.trials.remove(&class.name);
            match trial.before {
                Some(before) => stored.chosen.insert(class.name.clone(), before),
                None => stored.chosen.remove(&class.name),
            };
            ended.push(EndedTrial {
                class: class_label(id, Some(&class.name)),
                scheduler,
                again: schedules(&stored),
                began: trial.began,
                ended: now,
            });
        }
        // Of a class that is not configured any more nothing is told.
        stored.trials.retain(|_, trial| trial.until > now);
        self.save(&stored)?;
        self.remove_unused(&stored);
        Ok(ended)
    }
}
