//! What is wrong with a configuration file, and on which line.

use std::fmt;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// A fault of a configuration file. Prints as `line N: problem`.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigFault {
    /// From 1; `None` if the file as a whole is at fault.
    pub line: Option<usize>,
    pub problem: String,
}

impl ConfigFault {
    /// A fault at a place in `text`.
    pub fn at(text: &str, span: Option<Range<usize>>, problem: impl Into<String>) -> ConfigFault {
        let line = |span: Range<usize>| 1 + text.bytes().take(span.start).filter(|b| *b == b'\n').count();
        ConfigFault { line: span.map(line), problem: problem.into() }
    }

    pub fn of_toml(text: &str, error: &toml::de::Error) -> ConfigFault {
        ConfigFault::at(text, error.span(), error.message())
    }
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.problem),
            None => f.write_str(&self.problem),
        }
    }
}

/// The first key of `table` that `known` does not have, with the nearest that it has.
///
/// A table that is empty in `known` takes any key: it is a list of the user's own.
pub fn check_keys(text: &str, table: &DeTable<'_>, known: &DeTable<'_>) -> Result<(), ConfigFault> {
    check_section(text, "", table, known, known)
}

fn check_section(
    text: &str,
    section: &str,
    table: &DeTable<'_>,
    known: &DeTable<'_>,
    root: &DeTable<'_>,
) -> Result<(), ConfigFault> {
    for (key, value) in table {
        let name: &str = key.get_ref();
        let Some(model) = known.get(name) else {
            let problem = format!("unknown key {name:?}{}", suggestion(section, name, root));
            return Err(ConfigFault::at(text, Some(key.span()), problem));
        };
        if let (DeValue::Table(inner), DeValue::Table(model)) = (value.get_ref(), model.get_ref())
            && !model.is_empty()
        {
            check_section(text, name, inner, model, root)?;
        }
    }
    Ok(())
}

/// "; did you mean …?" with the most similar key, or nothing if none is similar.
fn suggestion(section: &str, name: &str, root: &DeTable<'_>) -> String {
    const SIMILAR: f64 = 0.6;
    let mut best: Option<(f64, &str, &str)> = None;
    for (candidate_section, candidate) in keys(root) {
        let mut score = strsim::normalized_damerau_levenshtein(name, candidate);
        if score >= SIMILAR && candidate_section == section {
            score += 0.05;
        }
        if score >= SIMILAR && best.is_none_or(|(s, ..)| score > s) {
            best = Some((score, candidate_section, candidate));
        }
    }
    match best {
        Some((_, place, key)) if place == section => format!("; did you mean {key:?}?"),
        Some((_, "", key)) => format!("; did you mean {key:?}, before the first section?"),
        Some((_, place, key)) => format!("; did you mean {key:?} in the section [{place}]?"),
        None => "; sealmqd --print-default-config lists all keys".to_owned(),
    }
}

/// All keys with the sections that they stand in, and the sections themselves.
fn keys<'a>(root: &'a DeTable<'_>) -> Vec<(&'a str, &'a str)> {
    let mut all: Vec<(&str, &str)> = Vec::new();
    for (key, value) in root {
        let name: &str = key.get_ref();
        all.push(("", name));
        if let DeValue::Table(inner) = value.get_ref() {
            all.extend(inner.keys().map(|k| (name, k.get_ref().as_ref())));
        }
    }
    all
}
