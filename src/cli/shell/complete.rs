//! Completion at the prompt: commands, flags, topics, filters.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use rustyline::completion::{Completer, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

use super::{command, words};

/// The words that the session has met: the shell's two threads share it.
#[derive(Clone, Default)]
pub struct Vocabulary(Arc<Mutex<Words>>);

#[derive(Default)]
struct Words {
    topics: BTreeSet<String>,
    filters: BTreeSet<String>,
    clients: BTreeSet<String>,
}

impl Vocabulary {
    pub fn add_topic(&self, topic: &str) {
        self.with(|words| words.topics.insert(topic.to_owned()));
    }

    pub fn set_topics(&self, topics: impl Iterator<Item = String>) {
        self.with(|words| words.topics = topics.collect());
    }

    pub fn add_filter(&self, filter: &str) {
        self.with(|words| words.filters.insert(filter.to_owned()));
    }

    pub fn remove_filter(&self, filter: &str) {
        self.with(|words| words.filters.remove(filter));
    }

    pub fn set_clients(&self, clients: impl Iterator<Item = String>) {
        self.with(|words| words.clients = clients.collect());
    }

    pub fn add_client(&self, name: &str) {
        self.with(|words| words.clients.insert(name.to_owned()));
    }

    pub fn remove_topic(&self, topic: &str) {
        self.with(|words| words.topics.remove(topic));
    }

    pub fn filters(&self) -> Vec<String> {
        self.with(|words| words.filters.iter().cloned().collect())
    }

    /// What may stand where the cursor is: the place where the word begins, and the words.
    pub fn candidates(&self, before_cursor: &str) -> (usize, Vec<String>) {
        let (start, typed) = words::last_word(before_cursor);
        let Ok(earlier) = words::split(&before_cursor[..start]) else { return (start, Vec::new()) };
        let mut found = self.with(|words| words.at(&earlier, &typed));
        found.retain(|word| word.starts_with(&typed) && *word != typed);
        (start, found)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Words) -> T) -> T {
        // A panic elsewhere leaves a set of words in a usable state.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Words {
    fn at(&self, earlier: &[String], typed: &str) -> Vec<String> {
        let Some(first) = earlier.first() else { return command::names() };
        let Some((command, flags)) = command::flags(first) else { return Vec::new() };
        let last = earlier.last().map_or("", String::as_str);
        match (command.as_str(), last) {
            ("subscribe", "--from") => START_WORDS.map(str::to_owned).to_vec(),
            ("create", "--to") => self.more_clients(typed),
            ("revoke", "--everywhere") => self.clients(),
            ("policy", _) if earlier.len() == 2 => POLICIES.map(str::to_owned).to_vec(),
            ("help", _) => command::names(),
            ("create", _) => flags,
            _ if typed.starts_with('-') && command != "publish" => flags,
            ("unsubscribe", _) => self.filters.iter().cloned().collect(),
            // What is behind the topic is text.
            ("publish", _) if earlier.len() > 1 && !last.starts_with('-') => Vec::new(),
            ("grant" | "deny" | "revoke", _) if earlier.len() > 1 => self.clients(),
            ("members" | "rotate" | "policy" | "retention" | "delete" | "forget", _) if earlier.len() > 1 => {
                flags
            }
            (
                "publish" | "members" | "subscribe" | "topics" | "requests" | "grant" | "deny" | "revoke"
                | "rotate" | "policy" | "retention" | "delete" | "forget",
                _,
            ) => self.topics.iter().cloned().collect(),
            _ => flags,
        }
    }

    fn clients(&self) -> Vec<String> {
        self.clients.iter().cloned().collect()
    }

    /// `alice,bo` is completed at its last name.
    fn more_clients(&self, typed: &str) -> Vec<String> {
        let before = typed.rfind(',').map_or("", |comma| &typed[..=comma]);
        self.clients.iter().map(|name| format!("{before}{name}")).collect()
    }
}

/// What `rustyline` asks.
pub struct Completing(pub Vocabulary);

impl Completer for Completing {
    type Candidate = Pair;

    fn complete(&self, line: &str, cursor: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, found) = self.0.candidates(&line[..cursor]);
        let pair = |word: String| {
            // A place such as `last=` wants its number next, everything else a space.
            let end = if word.ends_with('=') { "" } else { " " };
            Pair { replacement: format!("{}{end}", words::quote(&word)), display: word }
        };
        Ok((start, found.into_iter().map(pair).collect()))
    }
}

impl Hinter for Completing {
    type Hint = String;
}

impl Highlighter for Completing {}

impl Validator for Completing {}

impl Helper for Completing {}

const POLICIES: [&str; 3] = ["ask", "open", "closed"];
const START_WORDS: [&str; 5] = ["earliest", "latest", "last=", "since=", "offset="];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_the_place() {
        let vocabulary = Vocabulary::default();
        vocabulary.set_topics(["home/door", "home/kitchen", "my notes"].map(str::to_owned).into_iter());
        vocabulary.add_filter("home/#");
        vocabulary.set_clients(["alice", "bob"].map(str::to_owned).into_iter());
        let cases: [(&str, usize, &[&str]); 20] = [
            ("pu", 0, &["publish", "pub"]),
            ("unk", 0, &[]),
            ("pub ho", 4, &["home/door", "home/kitchen"]),
            ("publish home/k", 8, &["home/kitchen"]),
            ("publish home/kitchen ho", 21, &[]),
            ("pub 'my", 4, &["my notes"]),
            ("unsub ", 6, &["home/#"]),
            ("sub home/door --f", 14, &["--from"]),
            ("sub home/door --from l", 21, &["latest", "last="]),
            ("create a --to alice,b", 14, &["alice,bob"]),
            ("create a --dur", 9, &["--durability"]),
            ("gr", 0, &["grant"]),
            ("grant home/d", 6, &["home/door"]),
            ("grant home/door b", 16, &["bob"]),
            ("grant home/door bob --a", 20, &["--admin"]),
            ("revoke --everywhere a", 20, &["alice"]),
            ("policy home/door o", 17, &["open"]),
            ("unsub home/# --f", 13, &["--forget"]),
            ("help memb", 5, &["members"]),
            ("frobnicate ", 11, &[]),
        ];
        for (line, start, expected) in cases {
            let (at, found) = vocabulary.candidates(line);
            assert_eq!(at, start, "{line}");
            let found: BTreeSet<&str> = found.iter().map(String::as_str).collect();
            assert_eq!(found, expected.iter().copied().collect::<BTreeSet<_>>(), "{line}");
        }
    }
}
