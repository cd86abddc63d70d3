//! Which schedulers the router wants of the server: it asks by name and hash, the server says what became of
//! that, and asks for an object that it does not have. Choices overtake each other on the way; the last
//! one for a class holds.

use guywire_sched::{Factory, Time};

use super::{Event, Session};
use crate::record::{Choice, ChoiceResult, Control, Fate, OBJECT_PIECE, Piece};

impl Session {
    /// Router: asks the server to schedule the flows of a class as `choice` says; its serial number is
    /// given here. The answer is an event.
    pub fn choose(&mut self, mut choice: Choice) {
        let serial = self.chosen.entry(choice.class).or_default();
        *serial += 1;
        choice.serial = *serial;
        self.tell(Control::Scheduler(choice));
    }

    /// Router: sends an object that the server wants; at most [`MAX_OBJECT`](crate::record::MAX_OBJECT)
    /// bytes.
    pub fn send_object(&mut self, hash: [u8; 32], object: &[u8]) {
        for (number, bytes) in (0..).zip(object.chunks(OBJECT_PIECE)) {
            self.tell(Control::SchedulerObject(Piece {
                hash,
                size: object.len() as u32,
                number,
                bytes: bytes.to_vec(),
            }));
        }
    }

    /// Server: answers a choice, and uses the scheduler if that is the answer. Without effect when the
    /// router has chosen anew since.
    pub fn answer_choice(&mut self, now: Time, choice: &Choice, answer: Answer) {
        let (class, serial) = (choice.class, choice.serial);
        if self.ended || self.chosen.get(&class) != Some(&serial) {
            return;
        }
        let (fate, text) = match answer {
            Answer::Wanted => (Fate::Wanted, String::new()),
            Answer::Refused(text) => {
                // What was chosen before is not wanted any more.
                self.use_scheduler(now, class, Some(Factory::default()));
                (Fate::Refused, text)
            }
            Answer::Use(factory) => {
                self.use_scheduler(now, class, factory);
                (Fate::InUse, String::new())
            }
        };
        self.tell(Control::SchedulerResult(ChoiceResult {
            class,
            serial,
            fate,
            text,
        }));
    }

    pub(super) fn handle_choice(&mut self, choice: Choice) {
        let last = self.chosen.entry(choice.class).or_default();
        if choice.serial > *last {
            *last = choice.serial;
            self.events.push_back(Event::Chosen(choice));
        }
    }

    pub(super) fn handle_choice_result(&mut self, result: ChoiceResult) {
        if self.chosen.get(&result.class) == Some(&result.serial) {
            self.events.push_back(Event::ChoiceResult(result));
        }
    }
}

/// What a server answers to a choice.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Its flows are scheduled with this; with none as those of class 0.
    Use(Option<Factory>),
    /// The object is to be sent.
    Wanted,
    /// The scheduler is not used, for this reason, but `default`.
    Refused(String),
}
