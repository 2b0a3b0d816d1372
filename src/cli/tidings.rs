//! Sentences about what happens while messages arrive; `sub` and the shell say the same.

use crate::base::Mono;
use crate::base::ids::Offset;
use crate::base::names::{TopicFilter, TopicName};
use crate::cli::remedies;
use crate::cli::units::show_duration;
use crate::client::{Connected, Disconnect, Integrity, Opened};
use crate::wire::values::{Notice, RefuseCode};

/// Why delivery does not begin where it was asked to, if so.
pub fn start(opened: &Opened) -> Option<String> {
    let why = match opened.notice {
        Notice::None => return None,
        Notice::OtherIncarnation => "it was made anew since",
        Notice::BeyondEnd => "it is not as long as that",
    };
    Some(format!("{}: begins at offset {}, the earliest: {why}", opened.topic, opened.start))
}

pub fn gap(topic: &TopicName, from: Offset, to: Offset) -> String {
    let last = to.0.saturating_sub(1);
    if last <= from.0 {
        format!("{topic}: the message at offset {from} is no longer kept")
    } else {
        format!("{topic}: the messages at offsets {from} to {last} are no longer kept")
    }
}

/// `at`: where it was read to by then.
pub fn ended(topic: &TopicName, code: RefuseCode, at: Option<Offset>) -> String {
    let remedy = match (code, at) {
        (RefuseCode::Damaged, Some(at)) => {
            format!("\n  {}", remedies::damaged(topic, at).replace('\n', "\n  "))
        }
        _ => String::new(),
    };
    format!("{topic}: nothing more comes: {code}{remedy}")
}

pub fn away(reason: &Disconnect, retry_at: Option<Mono>, now: Mono) -> String {
    match retry_at {
        Some(at) => {
            // In tenths of a second: nobody reads more.
            let tenths = at.since(now).as_millis().div_ceil(100).max(1);
            format!("{reason} (trying again in {}.{} s)", tenths / 10, tenths % 10)
        }
        None => reason.to_string(),
    }
}

pub fn back(connected: &Connected) -> String {
    let again = if connected.resumed { " again" } else { "" };
    format!("connected{again} to {} (sealmqd {})", connected.broker, connected.version)
}

pub fn unmatched(filter: &TopicFilter, others: u32) -> String {
    let others = match others {
        0 => String::new(),
        1 => "; one is there that you are no member of".to_owned(),
        n => format!("; {n} are there that you are no member of"),
    };
    format!("no topic of yours matches {filter} yet{others}; waiting for one")
}

/// A filter matches topics of others as well.
pub fn not_yours(filter: &TopicFilter, others: u32) -> String {
    let topics = if others == 1 { "1 topic".to_owned() } else { format!("{others} topics") };
    format!(
        "{filter} also matches {topics} of which you are no member: `sealmq topics --all` shows them, \
         `sealmq sub TOPIC` asks to join one"
    )
}

/// Messages of before one joined, of a topic whose history is since-join.
pub fn unreadable(topic: &TopicName) -> String {
    format!("{topic}: messages from before you joined are left out, you have no key for them")
}

pub fn unbelieved(fault: &Integrity) -> String {
    let place = fault.offset.map_or(String::new(), |offset| format!(", offset {offset}"));
    let number = fault.counter.map_or(String::new(), |counter| format!(", number {counter}"));
    let sender = fault.sender.as_ref();
    let sender = sender.map_or(String::new(), |sender| format!(", said to be of {sender}{number}"));
    let stopped = if fault.stopped { "; the topic is given up" } else { "" };
    let remedy = remedies::fault_remedy(&fault.topic, &fault.fault);
    let remedy = remedy.map_or(String::new(), |remedy| format!("\n  {}", remedy.replace('\n', "\n  ")));
    format!("NOT BELIEVED: {}{place}{sender}: {}{stopped}{remedy}", fault.topic, fault.fault)
}

/// How long it took, for people.
pub fn took(time: std::time::Duration) -> String {
    if time.as_millis() < 1000 {
        format!("{:.2} ms", time.as_secs_f64() * 1000.0)
    } else {
        show_duration(time)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::ids::Incarnation;
    use crate::wire::values::Durability;

    fn topic() -> TopicName {
        TopicName::parse("home/kitchen").expect("a good name")
    }

    #[test]
    fn a_gap_names_its_last_message() {
        assert!(gap(&topic(), Offset(3), Offset(10)).contains("offsets 3 to 9 are"));
        assert!(gap(&topic(), Offset(3), Offset(4)).contains("offset 3 is"));
    }

    #[test]
    fn the_next_try_is_never_in_no_time() {
        let now = Mono(5_000_000);
        let soon = away(&Disconnect::BrokerSilent, Some(now + Duration::from_millis(1240)), now);
        assert!(soon.ends_with("(trying again in 1.3 s)"), "{soon}");
        assert!(away(&Disconnect::BrokerSilent, Some(now), now).ends_with("in 0.1 s)"));
        assert!(!away(&Disconnect::BrokerSilent, None, now).contains("again"));
    }

    #[test]
    fn an_expected_start_is_not_worth_a_word() {
        let opened = |notice| Opened {
            topic: topic(),
            incarnation: Incarnation(1),
            start: Offset(2),
            end: Offset(9),
            durability: Durability::Memory,
            notice,
        };
        assert_eq!(start(&opened(Notice::None)), None);
        let text = start(&opened(Notice::BeyondEnd)).expect("worth a word");
        assert!(text.contains("offset 2") && text.contains("home/kitchen"), "{text}");
    }
}
