//! A document against a schema: unknown keys with the nearest known name, types, bounds, missing keys, each with its
//! position.

use std::ops::Range;

use toml_edit::{Document, Item, TableLike, Value};

use super::schema::{Absent, Kind, Schema, Section};
use super::{ConfigError, Problem};

/// The text of a file and what is wrong with it so far.
pub(super) struct Check<'a> {
    text: &'a str,
    path: &'a std::path::Path,
    schema: &'static Schema,
    document: Document<String>,
    problems: Vec<Problem>,
}

impl<'a> Check<'a> {
    /// Parses the text and holds it against the schema. Syntax errors end here; everything else is collected.
    pub(super) fn new(
        path: &'a std::path::Path,
        text: &'a str,
        schema: &'static Schema,
    ) -> Result<Self, ConfigError> {
        let document = match Document::parse(text.to_owned()) {
            Ok(document) => document,
            Err(error) => {
                let what = error
                    .message()
                    .lines()
                    .next()
                    .unwrap_or("unreadable")
                    .to_owned();
                let offset = error.span().map_or(0, |span| span.start);
                let problem =
                    Problem::at(text, offset, format!("not TOML: {what}; correct this line"));
                return Err(ConfigError::Wrong {
                    path: path.to_owned(),
                    problems: vec![problem],
                });
            }
        };
        let mut check = Self {
            text,
            path,
            schema,
            document,
            problems: Vec::new(),
        };
        check.top();
        Ok(check)
    }

    /// The document as the type `T` when nothing is wrong so far.
    pub(super) fn read<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, ConfigError> {
        if !self.problems.is_empty() {
            return Err(self.wrong());
        }
        toml_edit::de::from_document(self.document.clone()).map_err(|error| {
            let what = error.message().to_owned();
            self.problem(error.span(), what);
            self.wrong()
        })
    }

    /// Ends a later look at the whole: fails when it found something.
    pub(super) fn finish(&mut self) -> Result<(), ConfigError> {
        if self.problems.is_empty() {
            Ok(())
        } else {
            Err(self.wrong())
        }
    }

    /// Adds a problem at the value of a key (`section.key`, `section[2].key`), or where its section begins.
    pub(super) fn problem_at(&mut self, section: &str, index: usize, key: &str, what: String) {
        let root = self.document.as_table();
        let table = match root.get(section) {
            None if section.is_empty() => Some(root as &dyn TableLike),
            Some(Item::ArrayOfTables(tables)) => {
                tables.get(index).map(|table| table as &dyn TableLike)
            }
            Some(item) => item.as_table_like(),
            None => None,
        };
        let span = table.and_then(|table| table.get(key)).and_then(Item::span);
        let span = span.or_else(|| root.get(section).and_then(Item::span));
        self.problem(span, what);
    }

    fn problem(&mut self, span: Option<Range<usize>>, what: String) {
        let offset = span.map_or(0, |span| span.start);
        self.problems.push(Problem::at(self.text, offset, what));
    }

    fn wrong(&mut self) -> ConfigError {
        let mut problems = std::mem::take(&mut self.problems);
        problems.sort();
        ConfigError::Wrong {
            path: self.path.to_owned(),
            problems,
        }
    }

    fn top(&mut self) {
        let document = self.document.clone();
        let root = document.as_table();
        let sections = self.schema.sections;
        let Some((top, named)) = sections.split_first() else {
            return;
        };
        self.section(root, top, None);
        for section in named {
            match (root.get(section.name), section.repeated) {
                (None | Some(Item::None), Some((1.., _))) => {
                    self.problem(
                        None,
                        format!(
                            "`[[{}]]` is missing: {}; add one",
                            section.name, section.text
                        ),
                    );
                }
                (None | Some(Item::None), Some(_)) => {}
                (None | Some(Item::None), None) => self.missing(section, None, |_| false),
                (Some(Item::ArrayOfTables(tables)), Some((_, most))) => {
                    if tables.len() > most {
                        let what = format!(
                            "{} of `[[{}]]`, at most {most}; remove some",
                            tables.len(),
                            section.name
                        );
                        self.problem(tables.span(), what);
                    }
                    for table in tables {
                        self.section(table, section, table.span());
                    }
                }
                (Some(item), None) if item.as_table_like().is_some() => {
                    if let Some(table) = item.as_table_like() {
                        self.section(table, section, item.span());
                    }
                }
                (Some(item), repeated) => {
                    let form = if repeated.is_some() {
                        "[[…]]"
                    } else {
                        "[…]"
                    }
                    .replace('…', section.name);
                    let what = format!(
                        "`{}` is {}, needed is a section; write `{form}`",
                        section.name,
                        item.type_name()
                    );
                    self.problem(item.span(), what);
                }
            }
        }
    }

    fn section(
        &mut self,
        table: &dyn TableLike,
        section: &'static Section,
        span: Option<Range<usize>>,
    ) {
        for (key, item) in table.iter() {
            let top = section.name.is_empty();
            if top
                && self
                    .schema
                    .sections
                    .iter()
                    .any(|section| section.name == key)
            {
                continue;
            }
            match section.settings.iter().find(|setting| setting.key == key) {
                Some(setting) => self.value(
                    &dotted(section, key),
                    item.as_value(),
                    item.span(),
                    &setting.kind,
                ),
                None => {
                    let at = table.get_key_value(key).and_then(|(key, _)| key.span());
                    self.unknown(section, key, at.or_else(|| item.span()));
                }
            }
        }
        self.missing(section, span, |key| table.contains_key(key));
    }

    fn missing(
        &mut self,
        section: &'static Section,
        span: Option<Range<usize>>,
        present: impl Fn(&str) -> bool,
    ) {
        for setting in section.settings {
            if matches!(setting.default, Absent::Required) && !present(setting.key) {
                let what = format!(
                    "`{}` is missing: {}; needed is {}",
                    dotted(section, setting.key),
                    setting.text,
                    setting.kind
                );
                self.problem(span.clone(), what);
            }
        }
    }

    fn value(
        &mut self,
        name: &str,
        value: Option<&Value>,
        span: Option<Range<usize>>,
        kind: &Kind,
    ) {
        let Some(value) = value else {
            self.problem(
                span,
                format!("`{name}` is a section, needed is {kind}; write `{name} = ...`"),
            );
            return;
        };
        if let Err(what) = kind.check(value) {
            let command = self.schema.command;
            self.problem(
                span,
                format!("`{name}` {what}; see `guywire {command} config --explain`"),
            );
        }
        if let (Kind::List(each, ..), Value::Array(array)) = (kind, value) {
            for entry in array {
                self.value(name, Some(entry), entry.span(), each);
            }
        }
    }

    fn unknown(&mut self, section: &Section, key: &str, span: Option<Range<usize>>) {
        let here = section
            .settings
            .iter()
            .map(|setting| dotted(section, setting.key));
        let elsewhere = self.schema.sections.iter().flat_map(|other| {
            let own = (!other.name.is_empty()).then(|| other.name.to_owned());
            own.into_iter().chain(
                other
                    .settings
                    .iter()
                    .map(move |setting| dotted(other, setting.key)),
            )
        });
        let nearest = here
            .chain(elsewhere)
            .map(|known| (nearness(&known, key), known));
        // The first of equals wins: the section's own keys come first.
        let best = nearest.reduce(|best, next| if next.0 > best.0 { next } else { best });
        let name = dotted(section, key);
        let command = self.schema.command;
        let next = match best {
            Some((nearness, known)) if nearness > 0.7 => format!("did you mean `{known}`?"),
            _ => format!("remove it; `guywire {command} config --explain` lists all keys"),
        };
        self.problem(span, format!("unknown key `{name}`; {next}"));
    }
}

/// How near a written key is to a known one, 0 to 1: by its last part, and whole.
fn nearness(known: &str, key: &str) -> f64 {
    let last = known.rsplit('.').next().unwrap_or(known);
    let bounded: String = key.chars().take(64).collect();
    strsim::jaro_winkler(last, &bounded).max(strsim::jaro_winkler(known, &bounded))
}

/// A key with its section, as people write it.
pub(super) fn dotted(section: &Section, key: &str) -> String {
    if section.name.is_empty() {
        key.to_owned()
    } else {
        format!("{}.{key}", section.name)
    }
}
