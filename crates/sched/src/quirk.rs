//! [`Quirk`]: what harms nobody here, and speaks against relying on a scheduler.

use std::fmt;

/// What a scheduler did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quirk {
    /// It divided by zero, which gives zero.
    DividedByZero,
    /// It went on putting things into a map that is full.
    FilledMap,
    /// It printed more lines than the log takes.
    FloodedLog,
    /// It returned neither 0 nor the negative of an error's number.
    OddAnswer,
}

impl Quirk {
    /// Every quirk.
    pub const ALL: [Quirk; 4] = [
        Quirk::DividedByZero,
        Quirk::FilledMap,
        Quirk::FloodedLog,
        Quirk::OddAnswer,
    ];
}

impl fmt::Display for Quirk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Quirk::DividedByZero => "it divides by zero",
            Quirk::FilledMap => "it fills a map and goes on putting things into it",
            Quirk::FloodedLog => "it prints more lines than the log takes",
            Quirk::OddAnswer => "it returns neither 0 nor the negative of an error's number",
        })
    }
}

/// A set of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quirks(u8);

impl Quirks {
    /// Puts one into the set.
    pub fn add(&mut self, quirk: Quirk) {
        self.0 |= 1 << quirk as u8;
    }

    /// Puts those of another set into this one.
    pub fn join(&mut self, others: Quirks) {
        self.0 |= others.0;
    }

    /// Those in the set.
    pub fn iter(self) -> impl Iterator<Item = Quirk> {
        let has = move |quirk: &Quirk| self.0 & 1 << *quirk as u8 != 0;
        Quirk::ALL.into_iter().filter(has)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_put_into_it() {
        let (mut some, mut others) = (Quirks::default(), Quirks::default());
        some.add(Quirk::OddAnswer);
        others.add(Quirk::DividedByZero);
        some.join(others);
        let all: Vec<Quirk> = some.iter().collect();
        assert_eq!(all, [Quirk::DividedByZero, Quirk::OddAnswer]);
    }
}
