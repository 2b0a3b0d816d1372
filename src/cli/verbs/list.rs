//! Verbs that ask one thing and print the answer: `topics`, `members`, `stats`, `ping`.

use std::time::Duration;

use crate::base::Wall;
use crate::base::names::TopicName;
use crate::cli::access::Base;
use crate::cli::args::{self, Access, Patience};
use crate::cli::error::CliError;
use crate::cli::link::Link;
use crate::cli::output::{Output, note, table};
use crate::cli::units::{show_bytes, show_duration};
use crate::client::{Answer, MemberRole, Members};
use crate::wire::values::{Durability, Stat, TopicEntry};

pub fn topics(
    base: &Base,
    list: &args::TopicList,
    access: &Access,
    patience: Patience,
) -> Result<(), CliError> {
    let (mut link, _) = Link::open(base, access, patience.wait)?;
    let ticket = link.core().topics(list.filter.clone());
    let topics = link.ask(ticket, |answer| match answer {
        Answer::Topics(topics) => Some(topics),
        _ => None,
    })?;
    let mut output = Output::new();
    topic_lines(list, &topics, link.now().wall).iter().try_for_each(|line| output.line(line))?;
    output.flush()?;
    let others = topics.iter().filter(|t| t.role.is_none()).count();
    if others > 0 && !list.all && output.is_terminal {
        note(&format!("{others} more of which you are no member: --all shows them"));
    }
    link.leave();
    Ok(())
}

pub fn members(base: &Base, topic: &TopicName, access: &Access, patience: Patience) -> Result<(), CliError> {
    let (mut link, _) = Link::open(base, access, patience.wait)?;
    let ticket = link.core().members(topic);
    let members = link.ask(ticket, |answer| match answer {
        Answer::Members(members) => Some(members),
        _ => None,
    })?;
    let mut output = Output::new();
    member_lines(&members).iter().try_for_each(|line| output.line(line))?;
    output.flush()?;
    link.leave();
    Ok(())
}

pub fn stats(base: &Base, access: &Access, patience: Patience) -> Result<(), CliError> {
    let (mut link, _) = Link::open(base, access, patience.wait)?;
    let ticket = link.core().stats();
    let stats = link.ask(ticket, |answer| match answer {
        Answer::Stats(stats) => Some(stats),
        _ => None,
    })?;
    let mut output = Output::new();
    stat_lines(&stats).iter().try_for_each(|line| output.line(line))?;
    output.flush()?;
    link.leave();
    Ok(())
}

pub fn ping(base: &Base, count: u32, access: &Access, patience: Patience) -> Result<(), CliError> {
    let (mut link, connected) = Link::open(base, access, patience.wait)?;
    let mut output = Output::new();
    for number in 1..=count {
        let ticket = link.core().ping();
        let round_trip = link.ask(ticket, |answer| match answer {
            Answer::Pong { round_trip } => Some(round_trip),
            _ => None,
        })?;
        let address = &link.address;
        let ms = round_trip.as_secs_f64() * 1000.0;
        let line = format!(
            "{} at {}:{} (sealmqd {}) answered you, {}, in {ms:.2} ms",
            connected.broker, address.host, address.port, connected.version, link.name
        );
        output.line(&line)?;
        output.flush()?;
        if number < count {
            let next = link.now().mono + PING_INTERVAL;
            while link.now().mono < next {
                link.next(Some(next))?;
            }
        }
    }
    link.leave();
    Ok(())
}

/// Each topic with what one is in it and what waits for one; or names alone, or all there is to say.
pub fn topic_lines(list: &args::TopicList, topics: &[TopicEntry], now: Wall) -> Vec<String> {
    let shown = topics.iter().filter(|topic| list.all || topic.role.is_some());
    if list.json {
        return shown.map(json_line).collect();
    }
    if list.names {
        return shown.map(|topic| topic.name.to_string()).collect();
    }
    if !list.verbose {
        let row = |topic: &TopicEntry| vec![topic.name.to_string(), role(topic), remarks(topic)];
        return table(&shown.map(row).collect::<Vec<_>>());
    }
    let head = [
        "TOPIC", "YOU", "OWNER", "POLICY", "HISTORY", "MEMBERS", "MESSAGES", "SIZE", "OLDEST", "OFFSETS",
        "STORED", "KEPT", "TO DO",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(shown.map(|topic| topic_row(topic, now)));
    table(&rows)
}

fn topic_row(topic: &TopicEntry, now: Wall) -> Vec<String> {
    vec![
        topic.name.to_string(),
        role(topic),
        topic.owner.to_string(),
        topic.join.to_string(),
        topic.history.to_string(),
        topic.members.to_string(),
        topic.messages.to_string(),
        show_bytes(topic.bytes),
        oldest(topic, now),
        format!("{}..{}", topic.first, topic.next),
        stored(topic).to_owned(),
        kept(topic),
        to_do(topic),
    ]
}

fn role(topic: &TopicEntry) -> String {
    topic.role.map_or("-".to_owned(), |role| role.to_string())
}

fn stored(topic: &TopicEntry) -> &'static str {
    match topic.durability {
        Durability::Memory => "memory",
        Durability::Disk => "disk",
    }
}

/// How long ago the oldest message came that is kept.
fn oldest(topic: &TopicEntry, now: Wall) -> String {
    match topic.messages {
        0 => "-".to_owned(),
        // Clocks differ, and nobody waits for a second.
        _ => format!("{} ago", show_duration(Duration::from_secs(now.since(topic.oldest).as_secs()))),
    }
}

/// That a restart of the broker loses a topic's messages is never left unsaid.
fn remarks(topic: &TopicEntry) -> String {
    let memory = (topic.durability == Durability::Memory).then(|| "in memory only".to_owned());
    let to_do = Some(to_do(topic)).filter(|what| !what.is_empty());
    memory.into_iter().chain(to_do).collect::<Vec<_>>().join(", ")
}

/// All of it, with bare numbers: bytes, and milliseconds since 1970.
fn json_line(topic: &TopicEntry) -> String {
    let retention = topic.retention;
    let line = serde_json::json!({
        "topic": topic.name.as_str(),
        "id": topic.topic.to_string(),
        "role": topic.role.map(|role| role.to_string()),
        "owner": topic.owner.as_str(),
        "owner_fingerprint": topic.owner_fingerprint.to_string(),
        "policy": topic.join.to_string(),
        "history": topic.history.to_string(),
        "members": topic.members,
        "messages": topic.messages,
        "bytes": topic.bytes,
        "oldest_ms": (topic.messages > 0).then_some(topic.oldest.0),
        "first": topic.first.0,
        "next": topic.next.0,
        "durability": stored(topic),
        "retain_count": retention.count,
        "retain_bytes": retention.bytes,
        "retain_age_ms": retention.age_ms,
        "requests": topic.requests,
        "rotate_due": topic.rotate_due,
    });
    line.to_string()
}

/// What waits for owner and admins; the broker tells nobody else.
fn to_do(topic: &TopicEntry) -> String {
    let requests = match topic.requests {
        0 => None,
        1 => Some("1 asks to join".to_owned()),
        n => Some(format!("{n} ask to join")),
    };
    let rotate = topic.rotate_due.then(|| "rotate due".to_owned());
    requests.into_iter().chain(rotate).collect::<Vec<_>>().join(", ")
}

fn kept(topic: &TopicEntry) -> String {
    let retention = topic.retention;
    let age = match retention.age_ms {
        0 => String::new(),
        ms => format!(", {}", show_duration(Duration::from_millis(ms))),
    };
    format!("{} or {}{age}", retention.count, show_bytes(retention.bytes))
}

/// Name, role and fingerprint of each, as the topic's verified records say.
pub fn member_lines(members: &Members) -> Vec<String> {
    let row = |m: &crate::client::Member| {
        let remark = match m.role {
            MemberRole::Recovery => "recovery key, never connects",
            _ if m.me => "you",
            _ => "",
        };
        vec![m.name.to_string(), m.role.to_string(), m.fingerprint.to_string(), remark.to_owned()]
    };
    table(&members.members.iter().map(row).collect::<Vec<_>>())
}

/// A counter a line.
pub fn stat_lines(stats: &[Stat]) -> Vec<String> {
    table(&stats.iter().map(|s| vec![s.name.clone(), s.value.to_string()]).collect::<Vec<_>>())
}

const PING_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::{Fingerprint, Incarnation, Offset, TopicId};
    use crate::base::names::{Name, TopicFilter};
    use crate::wire::policy::{History, JoinPolicy, Role};
    use crate::wire::values::Retention;

    fn entry(name: &str, member: bool) -> TopicEntry {
        TopicEntry {
            name: TopicName::parse(name).expect("a good name"),
            topic: TopicId([7; 32]),
            role: member.then_some(Role::Member),
            owner: Name::parse("alice").expect("a good name"),
            owner_fingerprint: Fingerprint([8; 32]),
            owner_seen: Wall(4),
            join: JoinPolicy::Ask,
            history: History::All,
            requests: 2,
            rotate_due: false,
            members: 3,
            durability: Durability::Disk,
            retention: Retention { age_ms: 86_400_000, ..Retention::default() },
            incarnation: Incarnation(1),
            first: Offset(2),
            next: Offset(9),
            messages: 7,
            bytes: 1536,
            oldest: Wall(0),
        }
    }

    #[test]
    fn topics_as_names_and_as_a_table() {
        let list = |verbose, all| args::TopicList {
            filter: TopicFilter::parse("#").expect("good"),
            verbose,
            names: false,
            json: false,
            all,
        };
        let now = Wall(90_000_500);
        let topic_lines =
            |list: &args::TopicList, topics: &[TopicEntry]| super::topic_lines(list, topics, now);
        let topics = [entry("a", true), TopicEntry { requests: 0, ..entry("b", false) }];
        assert_eq!(topic_lines(&list(false, false), &topics), ["a  member  2 ask to join"]);
        assert_eq!(topic_lines(&list(false, true), &topics)[1], "b  -");
        let names = args::TopicList { names: true, ..list(false, true) };
        assert_eq!(topic_lines(&names, &topics), ["a", "b"]);
        let due = TopicEntry { rotate_due: true, requests: 1, ..entry("a", true) };
        assert_eq!(topic_lines(&list(false, false), &[due]), ["a  member  1 asks to join, rotate due"]);
        let table = topic_lines(&list(true, true), &topics);
        assert_eq!(table.len(), 3);
        for word in
            ["member", "alice", "1.5 KiB", "2..9", "disk", "10000 or 64 MiB, 1d", "ask", "all", "1d1h ago"]
        {
            assert!(table[1].contains(word), "{word}: {}", table[1]);
        }
        assert!(!table[2].contains("member"), "{}", table[2]);
        let memory = TopicEntry { durability: Durability::Memory, messages: 0, ..entry("a", true) };
        let said = topic_lines(&list(false, false), std::slice::from_ref(&memory));
        assert_eq!(said, ["a  member  in memory only, 2 ask to join"]);
        assert!(topic_lines(&list(true, false), std::slice::from_ref(&memory))[1].contains("memory"));
        let json = args::TopicList { json: true, ..list(false, true) };
        let lines = topic_lines(&json, &[memory, entry("b", false)]);
        let parsed: Vec<serde_json::Value> =
            lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!((&parsed[0]["durability"], &parsed[0]["oldest_ms"]), (&"memory".into(), &().into()));
        assert_eq!((&parsed[1]["bytes"], &parsed[1]["oldest_ms"]), (&1536.into(), &0.into()));
        assert_eq!((&parsed[1]["role"], &parsed[1]["retain_age_ms"]), (&().into(), &86_400_000.into()));
    }
}
