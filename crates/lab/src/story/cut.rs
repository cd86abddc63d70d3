//! The cut in the middle of the download: one link falls silent for a while,
//! as when a modem hangs, and comes back.

use std::time::{Duration, Instant};

use super::StoryError;
use super::transfer::Watch;
use crate::client;
use crate::place::Place;
use crate::protocol::LinkVerb;
use crate::spec::{LinkState, Verb};

/// A link that carries this share of what it carried before the cut is used again.
const USED: f64 = 0.1;

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    /// The link works; what it carries is noted.
    Before,
    /// It is cut.
    Silent,
    /// It works again since then, and nobody uses it yet.
    Back(Instant),
    /// It is used again.
    Used,
}

/// A cut, planned and then seen.
pub(super) struct Cut {
    place: Place,
    /// The link that is cut.
    pub(super) link: String,
    /// When, from the start of the transfer.
    pub(super) at: Duration,
    /// When it comes back.
    pub(super) back: Duration,
    stage: Stage,
    /// What it carried before the cut, in Mbit/s.
    before: f64,
    /// What it had carried at the last look, in bytes.
    carried: (Instant, u64),
    /// From its return until it was used again.
    pub(super) used_after: Option<Duration>,
}

impl Cut {
    /// A cut of `link` from `at` to `back`.
    pub(super) fn new(place: Place, link: String, at: Duration, back: Duration) -> Cut {
        let carried = (Instant::now(), 0);
        Cut {
            place,
            link,
            at,
            back,
            stage: Stage::Before,
            before: 0.0,
            carried,
            used_after: None,
        }
    }

    /// Does what is due, and looks at the link.
    pub(super) fn watch(&mut self, watch: &Watch) -> Result<(), StoryError> {
        let Some(index) = watch.links.iter().position(|link| link.name == self.link) else {
            return Ok(());
        };
        let bytes = watch.link_bytes[index];
        let seconds = watch
            .now
            .saturating_duration_since(self.carried.0)
            .as_secs_f64();
        let carries = bytes.saturating_sub(self.carried.1) as f64 * 8e-6 / seconds.max(1e-3);
        self.carried = (watch.now, bytes);
        match self.stage {
            Stage::Before => self.before = watch.link_mbps[index],
            Stage::Back(since) if carries > USED * self.before && carries > 0.0 => {
                self.used_after = Some(watch.now.saturating_duration_since(since));
                self.stage = Stage::Used;
            }
            _ => {}
        }
        if self.stage == Stage::Before && watch.elapsed >= self.at {
            let emulated = watch.links[index].down.is_some();
            self.set(if emulated {
                LinkState::Silent
            } else {
                LinkState::Down
            })?;
            self.stage = Stage::Silent;
        }
        if self.stage == Stage::Silent && watch.elapsed >= self.back {
            self.set(LinkState::Up)?;
            self.stage = Stage::Back(Instant::now());
        }
        Ok(())
    }

    fn set(&self, state: LinkState) -> Result<(), StoryError> {
        client::link(
            &self.place,
            &self.link,
            &LinkVerb::Emulation(Verb::State(state)),
        )?;
        Ok(())
    }
}
