//! What a figure measured, its bounds and its verdict, as a table and as JSON.

use std::fmt;

use comfy_table::Table;
use serde_json::{Value, json};

/// What a measured number has to keep to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bound {
    /// This much or more.
    AtLeast(f64),
    /// This much or less.
    AtMost(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(f, "at least {bound}"),
            Self::AtMost(bound) => write!(f, "at most {bound}"),
        }
    }
}

/// How a row or a whole figure came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Within the bound.
    Holds,
    /// Not within the bound.
    Broken,
    /// Not to be believed: measure again.
    Void,
    /// Nothing is promised: context for the other rows.
    Noted,
}

impl Verdict {
    fn of(holds: bool) -> Self {
        if holds { Self::Holds } else { Self::Broken }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Holds => "holds",
            Self::Broken => "BROKEN",
            Self::Void => "VOID",
            Self::Noted => "-",
        })
    }
}

/// One measured quantity.
struct Row {
    quantity: String,
    value: Measured,
    bound: Option<Bound>,
}

enum Measured {
    Number { value: f64, unit: &'static str },
    Fact { true_so: bool, detail: String },
}

impl Row {
    fn verdict(&self) -> Verdict {
        match (&self.value, self.bound) {
            (Measured::Number { value, .. }, Some(bound)) => Verdict::of(bound.holds(*value)),
            (Measured::Number { .. }, None) => Verdict::Noted,
            (Measured::Fact { true_so, .. }, _) => Verdict::of(*true_so),
        }
    }

    fn value(&self) -> String {
        match &self.value {
            Measured::Number { value, unit } => format!("{} {unit}", rounded(*value)),
            Measured::Fact { true_so, detail } => {
                let answer = if *true_so { "yes" } else { "no" };
                if detail.is_empty() {
                    answer.to_owned()
                } else {
                    format!("{answer}: {detail}")
                }
            }
        }
    }

    fn bound(&self) -> String {
        match (&self.value, self.bound) {
            (Measured::Fact { .. }, _) => "yes".to_owned(),
            (_, Some(bound)) => bound.to_string(),
            (_, None) => String::new(),
        }
    }

    fn json(&self) -> Value {
        let value = match &self.value {
            Measured::Number { value, .. } => json!(value),
            Measured::Fact { true_so, .. } => json!(true_so),
        };
        let (unit, detail) = match &self.value {
            Measured::Number { unit, .. } => (Some(*unit), None),
            Measured::Fact { detail, .. } => (None, Some(detail)),
        };
        json!({
            "quantity": self.quantity,
            "value": value,
            "unit": unit,
            "detail": detail,
            "bound": self.bound(),
            "verdict": self.verdict().to_string().to_lowercase(),
        })
    }
}

/// All that a figure measured.
pub(super) struct Report {
    figure: &'static str,
    shows: &'static str,
    conditions: Vec<String>,
    rows: Vec<Row>,
    void: Vec<String>,
    samples: Vec<Value>,
}

impl Report {
    /// An empty one, for the figure of this name that shows this.
    pub(super) fn new(figure: &'static str, shows: &'static str) -> Self {
        Self {
            figure,
            shows,
            conditions: Vec::new(),
            rows: Vec::new(),
            void: Vec::new(),
            samples: Vec::new(),
        }
    }

    /// Tells under what conditions the rows were measured; once for each text.
    pub(super) fn condition(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.conditions.contains(&text) {
            self.conditions.push(text);
        }
    }

    /// Adds a number and what it has to keep to.
    pub(super) fn judge(
        &mut self,
        quantity: impl Into<String>,
        value: f64,
        unit: &'static str,
        bound: Bound,
    ) {
        self.rows.push(Row {
            quantity: quantity.into(),
            value: Measured::Number { value, unit },
            bound: Some(bound),
        });
    }

    /// Adds a count of what may not happen.
    pub(super) fn none(&mut self, quantity: impl Into<String>, count: u64) {
        self.judge(quantity, count as f64, "", Bound::AtMost(0.0));
    }

    /// Adds a number that nothing is promised of.
    pub(super) fn note(&mut self, quantity: impl Into<String>, value: f64, unit: &'static str) {
        self.rows.push(Row {
            quantity: quantity.into(),
            value: Measured::Number { value, unit },
            bound: None,
        });
    }

    /// Adds something that has to be so, and what was seen.
    pub(super) fn fact(
        &mut self,
        quantity: impl Into<String>,
        true_so: bool,
        detail: impl Into<String>,
    ) {
        self.rows.push(Row {
            quantity: quantity.into(),
            value: Measured::Fact {
                true_so,
                detail: detail.into(),
            },
            bound: None,
        });
    }

    /// Keeps one single measurement, for programs that add parts up.
    pub(super) fn sample(&mut self, sample: Value) {
        self.samples.push(sample);
    }

    /// Says why the figure is not to be believed.
    pub(super) fn void(&mut self, reason: impl Into<String>) {
        self.void.push(reason.into());
    }

    /// The whole figure's verdict.
    pub(super) fn verdict(&self) -> Verdict {
        if !self.void.is_empty() {
            return Verdict::Void;
        }
        Verdict::of(self.rows.iter().all(|row| row.verdict() != Verdict::Broken))
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        json!({
            "figure": self.figure,
            "shows": self.shows,
            "conditions": self.conditions,
            "rows": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
            "void": self.void,
            "samples": self.samples,
            "verdict": self.verdict().to_string().to_lowercase(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.figure, self.shows)?;
        for condition in &self.conditions {
            writeln!(f, "  {condition}")?;
        }
        let mut table = Table::new();
        table.load_style(comfy_table::presets::ASCII_MARKDOWN);
        table.set_header(["quantity", "measured", "bound", "verdict"]);
        for row in &self.rows {
            let verdict = row.verdict().to_string();
            table.add_row([row.quantity.clone(), row.value(), row.bound(), verdict]);
        }
        writeln!(f, "{table}")?;
        for reason in &self.void {
            writeln!(f, "void: {reason}")?;
        }
        writeln!(f, "{}: {}", self.figure, self.verdict())
    }
}

/// Three digits that matter, and no more.
fn rounded(value: f64) -> String {
    if value == value.trunc() {
        format!("{value}")
    } else if value.abs() >= 100.0 {
        format!("{value:.0}")
    } else if value.abs() >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_include_their_edge() {
        assert!(Bound::AtLeast(85.0).holds(85.0));
        assert!(!Bound::AtLeast(85.0).holds(84.999));
        assert!(Bound::AtMost(1.0).holds(1.0));
        assert!(!Bound::AtMost(1.0).holds(f64::NAN));
        assert!(!Bound::AtLeast(1.0).holds(f64::NAN));
    }

    #[test]
    fn one_broken_row_breaks_the_figure_and_void_outweighs_it() {
        let mut report = Report::new("x", "something");
        report.note("context", 12.345, "s");
        report.judge("share", 90.0, "%", Bound::AtLeast(85.0));
        assert_eq!(report.verdict(), Verdict::Holds);
        report.fact("nothing lost", false, "3 lost");
        assert_eq!(report.verdict(), Verdict::Broken);
        report.void("5 % idle");
        assert_eq!(report.verdict(), Verdict::Void);
        let json = report.json();
        assert_eq!(json["verdict"], "void");
        assert_eq!(json["rows"][1]["bound"], "at least 85");
        assert_eq!(json["rows"][2]["value"], false);
        assert!(report.to_string().contains("12.3 s"));
    }

    #[test]
    fn rounds_to_what_matters() {
        let table = [
            (3.0, "3"),
            (158.84, "159"),
            (18.21, "18.2"),
            (0.1234, "0.12"),
        ];
        for (value, text) in table {
            assert_eq!(rounded(value), text);
        }
    }
}
