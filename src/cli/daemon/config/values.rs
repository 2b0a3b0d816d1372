//! Values of the configuration: sizes and times with units, levels, rules.

use std::fmt;
use std::time::Duration;

use log::LevelFilter;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

use crate::base::names::{Name, TopicFilter};
use crate::cli::units;

/// A size in bytes, written as text with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize))]
pub struct Size(pub u64);

/// A time, written as text with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize))]
pub struct Time(pub Duration);

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(pub LevelFilter);

/// Who may create which topics, in the order written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateRules(pub Vec<(TopicFilter, Vec<Name>)>);

impl Size {
    pub const fn of(bytes: usize) -> Size {
        Size(bytes as u64)
    }

    /// For what lies in RAM. Larger than that cannot be kept there, whatever is allowed.
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl Level {
    /// Parses `error`, `warn`, `info`, `debug` or `trace`.
    pub fn parse(text: &str) -> Result<Level, String> {
        let level = text.parse().ok().filter(|level| *level != LevelFilter::Off);
        level.map(Level).ok_or_else(|| "expected error, warn, info, debug or trace".to_owned())
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Size, D::Error> {
        let parse = |text: &str| units::bytes(text).map(Size);
        d.deserialize_any(Text { expected: r#"a size with its unit, such as "64 MiB""#, parse })
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Time, D::Error> {
        let parse = |text: &str| units::duration(text).map(Time);
        d.deserialize_any(Text { expected: r#"a time with its unit, such as "60s""#, parse })
    }
}

impl<'de> Deserialize<'de> for Level {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Level, D::Error> {
        d.deserialize_any(Text { expected: "error, warn, info, debug or trace", parse: Level::parse })
    }
}

impl<'de> Deserialize<'de> for CreateRules {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<CreateRules, D::Error> {
        d.deserialize_map(Rules)
    }
}

/// Takes text only, and says what was expected of a bare number.
struct Text<F> {
    expected: &'static str,
    parse: F,
}

impl<T, F: Fn(&str) -> Result<T, String>> Visitor<'_> for Text<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(|why| E::custom(format_args!("{text:?}: {why}")))
    }
}

struct Rules;

impl<'de> Visitor<'de> for Rules {
    type Value = CreateRules;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"rules such as "home/#" = ["alice"]"#)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<CreateRules, A::Error> {
        let mut rules = Vec::new();
        while let Some((filter, names)) = map.next_entry::<String, Vec<String>>()? {
            let wrong = |what: &str, text: &str, why| {
                de::Error::custom(format_args!("[create]: the {what} {text:?} {why}"))
            };
            let parsed = TopicFilter::parse(&filter).map_err(|e| wrong("filter", &filter, e))?;
            let name = |text: &String| Name::parse(text).map_err(|e| wrong("name", text, e));
            rules.push((parsed, names.iter().map(name).collect::<Result<_, _>>()?));
        }
        Ok(CreateRules(rules))
    }
}

#[cfg(test)]
impl serde::Serialize for Level {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.0.as_str())
    }
}

#[cfg(test)]
impl serde::Serialize for CreateRules {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(self.0.iter().map(|(filter, _)| (filter.as_str(), "")))
    }
}
