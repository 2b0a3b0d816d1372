//! Names of clients and topics, and filters over topics: parsed once, valid from then on.

use std::fmt;

use super::limits::{CLIENT_NAME_BYTES_MAX, TOPIC_NAME_BYTES_MAX};

/// A client's or broker's name, the common name of its certificate:
/// `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

/// A topic's name: UTF-8, levels parted by `/`, 1 to 256 bytes, no control characters,
/// no `+` or `#`, not beginning with `$`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Box<str>);

/// A topic filter as in MQTT 3.1.1, 4.7: a level `+` stands for any one level, a last
/// level `#` for the rest, none included.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter(Box<str>);

/// Why a name or filter was not taken. Prints as a sentence's predicate: "is empty".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    Empty,
    TooLong { max: usize },
    BadCharacter(char),
    BadStart(char),
    Wildcard,
    MisplacedWildcard,
}

impl Name {
    pub fn parse(text: &str) -> Result<Name, NameError> {
        check_length(text, CLIENT_NAME_BYTES_MAX)?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if let Some(bad) = text.chars().find(|c| !allowed(*c)) {
            return Err(NameError::BadCharacter(bad));
        }
        match text.chars().next() {
            Some(c) if !c.is_ascii_alphanumeric() => Err(NameError::BadStart(c)),
            _ => Ok(Name(text.into())),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TopicName {
    pub fn parse(text: &str) -> Result<TopicName, NameError> {
        check_topic_text(text)?;
        if text.contains(['+', '#']) {
            return Err(NameError::Wildcard);
        }
        Ok(TopicName(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TopicFilter {
    pub fn parse(text: &str) -> Result<TopicFilter, NameError> {
        check_topic_text(text)?;
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            let last = levels.peek().is_none();
            if level.contains('+') && level != "+" || level.contains('#') && (level != "#" || !last) {
                return Err(NameError::MisplacedWildcard);
            }
        }
        Ok(TopicFilter(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The one topic that it can match, if it has no wildcard.
    pub fn exact(&self) -> Option<TopicName> {
        TopicName::parse(&self.0).ok()
    }

    /// Whether `topic` is among those that the filter stands for.
    pub fn matches(&self, topic: &TopicName) -> bool {
        let mut names = topic.0.split('/');
        for level in self.0.split('/') {
            if level == "#" {
                return true;
            }
            match names.next() {
                Some(name) if level == "+" || level == name => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }
}

impl From<&TopicName> for TopicFilter {
    fn from(name: &TopicName) -> TopicFilter {
        TopicFilter(name.0.clone())
    }
}

fn check_topic_text(text: &str) -> Result<(), NameError> {
    check_length(text, TOPIC_NAME_BYTES_MAX)?;
    if let Some(bad) = text.chars().find(|c| c.is_control()) {
        return Err(NameError::BadCharacter(bad));
    }
    if text.starts_with('$') {
        return Err(NameError::BadStart('$'));
    }
    Ok(())
}

fn check_length(text: &str, max: usize) -> Result<(), NameError> {
    match text.len() {
        0 => Err(NameError::Empty),
        n if n > max => Err(NameError::TooLong { max }),
        _ => Ok(()),
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::Empty => write!(f, "is empty"),
            NameError::TooLong { max } => write!(f, "is longer than {max} bytes"),
            NameError::BadCharacter(c) => write!(f, "has a character that is not allowed: {c:?}"),
            NameError::BadStart(c) => write!(f, "may not begin with {c:?}"),
            NameError::Wildcard => {
                write!(f, "has a wildcard (+ or #), which only a filter may have")
            }
            NameError::MisplacedWildcard => {
                write!(f, "has a misplaced wildcard: + must be a whole level, # the whole last level")
            }
        }
    }
}

impl std::error::Error for NameError {}

macro_rules! text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<$name, NameError> {
                $name::parse(text)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

text!(Name);
text!(TopicName);
text!(TopicFilter);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_names() {
        for good in ["a", "Alice", "host-1.lan", "7_x", &"a".repeat(64)] {
            assert!(Name::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", ".a", "_a", "a b", "a/b", "ä", &"a".repeat(65)] {
            assert!(Name::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn topic_names() {
        for good in ["a", "home/kitchen/t", "/", "ä/ö", "a//b", "a$"] {
            assert!(TopicName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "$sys", "a+b", "#", "a\n", "a\0", "\u{85}", &"a".repeat(257)] {
            assert!(TopicName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn filters_match_as_in_mqtt() {
        let cases = [
            ("a/b", "a/b", true),
            ("a/b", "a/c", false),
            ("a/+", "a/b", true),
            ("a/+", "a", false),
            ("a/+", "a/b/c", false),
            ("+", "a", true),
            ("+/+", "/a", true),
            ("/+", "/a", true),
            ("+", "/a", false),
            ("#", "a/b/c", true),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("a/#", "ab", false),
            ("+/b/#", "a/b", true),
        ];
        for (filter, topic, expected) in cases {
            let f = TopicFilter::parse(filter).expect("a good filter");
            let t = TopicName::parse(topic).expect("a good topic");
            assert_eq!(f.matches(&t), expected, "{filter} over {topic}");
        }
        for bad in ["a+", "a/#/b", "#a", "+a/b", "a#"] {
            assert_eq!(TopicFilter::parse(bad), Err(NameError::MisplacedWildcard), "{bad}");
        }
    }
}
