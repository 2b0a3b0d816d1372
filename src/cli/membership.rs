//! Sentences about who comes to a topic, who leaves it, and who asks; verbs, `sub`, steward and shell say
//! the same.

use std::collections::HashMap;
use std::time::Duration;

use super::error::{CliError, Exit};
use super::output::table;
use super::units::{show_duration, show_time};
use crate::base::ids::Fingerprint;
use crate::base::names::{Name, TopicName};
use crate::base::{Mono, Wall};
use crate::client::{Amended, Asked, Event, Join, Member, MemberRole, Notice, Request};

/// What was wanted, for those for whom nothing had to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Grant,
    Deny,
    Revoke,
    Rotate,
    Policy(Join),
}

/// What became of a topic's members: one line, and one for those who are as they were.
pub fn amended(change: Change, amended: &Amended) -> Vec<String> {
    let topic = &amended.topic;
    let mut done = Vec::new();
    for role in [MemberRole::Member, MemberRole::Admin, MemberRole::Recovery] {
        let of_role = |members: &[Member]| -> Vec<Name> {
            members.iter().filter(|m| m.role == role).map(|m| m.name.clone()).collect()
        };
        let (added, changed) = (of_role(&amended.added), of_role(&amended.changed));
        match role {
            MemberRole::Admin => {
                let admins: Vec<Name> = added.into_iter().chain(changed).collect();
                done.extend(sentence(&admins, "is an admin now", "are admins now"));
            }
            _ => {
                done.extend(sentence(&added, "can read and publish", "can read and publish"));
                done.extend(sentence(&changed, "is a plain member now", "are plain members now"));
            }
        }
    }
    let removed: Vec<Name> = amended.removed.iter().map(|m| m.name.clone()).collect();
    done.extend(sentence(&removed, "can no longer read", "can no longer read"));
    done.extend(sentence(&amended.denied, "is turned away", "are turned away"));
    match change {
        Change::Rotate if amended.new_epoch => done.push("a new key for the same members".to_owned()),
        Change::Policy(join) => done.push(policy(join).to_owned()),
        _ => {}
    }
    let mut lines = Vec::new();
    if !done.is_empty() {
        let place = match amended.new_epoch {
            true => format!("epoch {} of {topic}", amended.epoch),
            false => topic.to_string(),
        };
        let members = if amended.members == 1 { "member" } else { "members" };
        lines.push(format!("{place}: {}; {} {members}", done.join(", "), amended.members));
    }
    let (one, several) = match change {
        Change::Grant => ("is that already", "are that already"),
        Change::Deny => ("was turned away before", "were turned away before"),
        Change::Revoke | Change::Rotate | Change::Policy(_) => ("is no member", "are no members"),
    };
    lines.extend(sentence(&amended.unchanged, one, several).map(|said| format!("{topic}: {said}")));
    lines
}

fn policy(join: Join) -> &'static str {
    match join {
        Join::Ask => "who asks to join waits for grant or deny",
        Join::Open => "your clients let in who asks, while one is connected",
        Join::Closed => "nobody may ask to join",
    }
}

/// `bob and carol can read`.
fn sentence(who: &[Name], one: &str, several: &str) -> Option<String> {
    match who {
        [] => None,
        [name] => Some(format!("{name} {one}")),
        [first @ .., last] => {
            let first: Vec<&str> = first.iter().map(Name::as_str).collect();
            Some(format!("{} and {last} {several}", first.join(", ")))
        }
    }
}

/// What came of asking to join. `session_began` is the broker's clock at that time: an owner who was
/// connected since then is connected now, as near as can be told.
pub fn asked(asked: &Asked, session_began: Wall) -> String {
    let Asked { topic, owner, .. } = asked;
    let seen = match asked.owner_seen {
        Some(seen) if seen >= session_began => "is connected now".to_owned(),
        Some(seen) if session_began.since(seen) < JUST_NOW => "was here until just now".to_owned(),
        Some(seen) => {
            let ago = Duration::from_secs(session_began.since(seen).as_secs());
            format!("was last seen {} ({} ago)", show_time(seen), show_duration(ago))
        }
        None => "has not been seen yet".to_owned(),
    };
    format!("asked to join {topic}; the owner {owner} {seen}")
}

/// The same as the end of a command that does not wait.
pub fn asked_error(asked: &Asked, session_began: Wall) -> CliError {
    CliError::new(Exit::NoKey, self::asked(asked, session_began)).remedy(format!(
        "you read it once {} or an admin has let you in: try again then, or stay with --wait",
        asked.owner
    ))
}

/// Somebody asks to join; with what is typed to decide.
pub fn requested(request: &Request, prefix: &str) -> String {
    let Request { topic, name, fingerprint, .. } = request;
    match &request.fault {
        None => format!(
            "{name} ({}) asks to join {topic}: {prefix}grant {topic} {name}, or {prefix}deny {topic} {name}",
            fingerprint.short()
        ),
        Some(fault) => format!("{name} ({}) asks to join {topic}, but {fault}", fingerprint.short()),
    }
}

pub fn rotate_due(topic: &TopicName) -> String {
    format!("{topic}: rotate due, since a member's certificate was revoked")
}

/// Those who ask, under a heading; nothing if nobody does.
pub fn request_lines(requests: &[Request]) -> Vec<String> {
    if requests.is_empty() {
        return Vec::new();
    }
    let mut rows = vec![["TOPIC", "WHO", "FINGERPRINT", "ASKED", "NOTE"].map(str::to_owned).to_vec()];
    rows.extend(requests.iter().map(|r| {
        vec![
            r.topic.to_string(),
            r.name.to_string(),
            r.fingerprint.short(),
            r.asked.to_string(),
            r.fault.clone().unwrap_or_default(),
        ]
    }));
    table(&rows)
}

/// What is told to those who follow requests, each thing once.
#[derive(Default)]
pub struct News {
    told: HashMap<(TopicName, Fingerprint), Mono>,
}

impl News {
    /// The line for an event, if it is news of members. `prefix` is what stands before a command where
    /// it is typed.
    pub fn line(&mut self, event: &Event, now: Mono, prefix: &str) -> Option<String> {
        match event {
            Event::Requested(request) if self.is_new(request, now) => Some(requested(request, prefix)),
            Event::RotateDue { topic } => Some(rotate_due(topic)),
            Event::Notice(
                notice @ (Notice::LetIn { .. } | Notice::NotLetIn { .. } | Notice::Rotated { .. }),
            ) => Some(notice.to_string()),
            _ => None,
        }
    }

    /// Whoever waits asks again from time to time; that is not told each time.
    fn is_new(&mut self, request: &Request, now: Mono) -> bool {
        self.told.retain(|_, told| now.since(*told) < TOLD_FOR);
        let key = (request.topic.clone(), request.fingerprint);
        self.told.insert(key, now).is_none()
    }
}

/// A time for which nobody wants a date.
const JUST_NOW: Duration = Duration::from_secs(10);
/// How long somebody has to be silent before asking again is news.
const TOLD_FOR: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::{Epoch, TopicId};

    fn name(text: &str) -> Name {
        Name::parse(text).expect("a good name")
    }

    fn topic() -> TopicName {
        TopicName::parse("home/door").expect("a good name")
    }

    fn member(text: &str, role: MemberRole) -> Member {
        Member { name: name(text), fingerprint: Fingerprint([1; 32]), role, me: false }
    }

    fn nothing() -> Amended {
        Amended {
            topic: topic(),
            id: TopicId([0; 32]),
            number: 4,
            added: Vec::new(),
            removed: Vec::new(),
            denied: Vec::new(),
            changed: Vec::new(),
            epoch: Epoch(3),
            new_epoch: false,
            members: 4,
            unchanged: Vec::new(),
        }
    }

    fn request(byte: u8) -> Request {
        Request {
            topic: topic(),
            name: name("carol"),
            fingerprint: Fingerprint([byte; 32]),
            asked: Wall::from_secs(1_795_419_197),
            fault: None,
        }
    }

    #[test]
    fn a_change_is_one_line() {
        let left = Amended { removed: vec![member("bob", MemberRole::Member)], new_epoch: true, ..nothing() };
        assert_eq!(
            amended(Change::Revoke, &left),
            ["epoch 3 of home/door: bob can no longer read; 4 members"]
        );
        let came = Amended {
            added: vec![member("carol", MemberRole::Member), member("dave", MemberRole::Admin)],
            changed: vec![member("erna", MemberRole::Admin)],
            unchanged: vec![name("fred")],
            ..nothing()
        };
        assert_eq!(
            amended(Change::Grant, &came),
            [
                "home/door: carol can read and publish, dave and erna are admins now; 4 members",
                "home/door: fred is that already"
            ]
        );
        let denied = Amended { denied: vec![name("a"), name("b"), name("c")], members: 1, ..nothing() };
        assert_eq!(amended(Change::Deny, &denied), ["home/door: a, b and c are turned away; 1 member"]);
        let rotated = Amended { new_epoch: true, ..nothing() };
        assert_eq!(
            amended(Change::Rotate, &rotated),
            ["epoch 3 of home/door: a new key for the same members; 4 members"]
        );
        let closed = amended(Change::Policy(Join::Closed), &nothing());
        assert_eq!(closed, ["home/door: nobody may ask to join; 4 members"]);
        let none = Amended { unchanged: vec![name("bob")], ..nothing() };
        assert_eq!(amended(Change::Revoke, &none), ["home/door: bob is no member"]);
    }

    #[test]
    fn an_owner_is_connected_was_seen_or_was_not() {
        let asked = |seen: Option<u64>| {
            let owner_seen = seen.map(Wall::from_secs);
            let owner_fingerprint = Fingerprint([1; 32]);
            super::asked(
                &Asked { topic: topic(), owner: name("alice"), owner_fingerprint, owner_seen },
                Wall::from_secs(10_000),
            )
        };
        assert_eq!(asked(Some(10_000)), "asked to join home/door; the owner alice is connected now");
        let gone = asked(Some(9_900));
        assert!(gone.ends_with("alice was last seen 1970-01-01T02:45:00.000Z (1m40s ago)"), "{gone}");
        assert!(asked(Some(9_995)).ends_with("alice was here until just now"));
        assert!(asked(None).ends_with("has not been seen yet"));
    }

    #[test]
    fn whoever_asks_again_and_again_is_told_once() {
        let mut news = News::default();
        let line = |news: &mut News, request, secs: u64| {
            news.line(&Event::Requested(request), Mono(secs * 1_000_000), "sealmq ")
        };
        let first = line(&mut news, request(1), 0).expect("news");
        assert!(
            first.contains("carol (0101010101010101) asks") && first.contains("sealmq grant home/door carol")
        );
        assert_eq!(line(&mut news, request(1), 60), None);
        assert!(line(&mut news, request(2), 60).is_some(), "another key under the name");
        assert_eq!(line(&mut news, request(1), 3_000), None, "it never fell silent");
        assert!(line(&mut news, request(1), 6_601).is_some());
        let bad = Request { fault: Some("was denied before".to_owned()), ..request(3) };
        let bad = line(&mut news, bad, 0).expect("news");
        assert!(bad.ends_with("but was denied before") && !bad.contains("grant"), "{bad}");
    }

    #[test]
    fn requests_are_a_table() {
        let lines = request_lines(&[request(1)]);
        assert!(lines[0].starts_with("TOPIC      WHO"), "{}", lines[0]);
        assert!(lines[1].starts_with("home/door  carol  0101010101010101  2026-11-23T"), "{}", lines[1]);
        assert!(request_lines(&[]).is_empty());
    }
}
