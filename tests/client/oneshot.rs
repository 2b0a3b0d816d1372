//! `create`, `sub`, `topics`, `members`, `stats`, `ping`: what they print, and how they end.

use std::time::{Duration, Instant};

use crate::support::Town;

#[test]
fn a_message_from_one_to_another() {
    let town = Town::new();
    let made = town.good("alice", "create home/kitchen --trust-new");
    assert!(made.starts_with("created home/kitchen for 3 members\n"), "{made}");
    assert_eq!(town.good("alice", "pub -t home/kitchen -m 21.5"), "", "nothing is printed");
    assert_eq!(town.good("bob", "sub -t home/kitchen -e"), "21.5\n");
    assert_eq!(town.good("bob", "sub -t home/# -v -C 1"), "home/kitchen 21.5\n");
    assert_eq!(town.good("bob", "sub -t home/# -N -C 1"), "21.5");
    let line = town.good("bob", "sub -t home/# -C 1 -F %t|%p|%o|%s|%l|%%");
    assert_eq!(line, "home/kitchen|21.5|2|alice|4|%\n");
}

#[test]
fn json_lines_say_all_there_is() {
    let town = Town::new();
    town.topic("a");
    town.good("alice", "pub -t a -m text");
    let binary = town.run_with("alice", "pub -t a -s", b"\xff\0\n");
    assert_eq!(binary.code, 0, "{binary:?}");
    let lines = town.good("bob", "sub -t a -e -J");
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["payload"], &lines[0]["length"]), (&"text".into(), &4.into()));
    assert_eq!((&lines[1]["payload_b64"], &lines[1]["length"]), (&"/wAK".into(), &3.into()));
    assert_eq!((&lines[0]["sender"], &lines[0]["epoch"]), (&"alice".into(), &0.into()));
    let alice = town.world.client("alice").0.public().fingerprint().to_string();
    assert_eq!(lines[0]["fingerprint"], alice);
    let time: jiff::Timestamp = lines[0]["time"].as_str().and_then(|t| t.parse().ok()).expect("RFC 3339");
    assert!((jiff::Timestamp::now() - time).get_hours() == 0, "{time}");
}

#[test]
fn where_it_begins() {
    let town = Town::new();
    town.topic("a");
    let sent = town.run_with("alice", "pub -t a -l", b"one\ntwo\nthree\n");
    assert_eq!(sent.code, 0, "{sent:?}");
    for (from, expected) in [
        ("earliest", "one two three"),
        ("last=2", "two three"),
        ("offset=4", "three"),
        ("since=1h", "one two three"),
        ("since=2100-01-01T00:00:00Z", ""),
        ("latest", ""),
    ] {
        let out = town.good("bob", &format!("sub -t a -e --from {from}"));
        assert_eq!(out.split_whitespace().collect::<Vec<_>>().join(" "), expected, "{from}");
    }
    let beyond = town.run("bob", "sub -t a -e --from offset=99");
    assert_eq!(beyond.out.lines().count(), 3);
    assert!(beyond.err.contains("offset 2, the earliest"), "{}", beyond.err);
}

#[test]
fn past_and_new_messages_in_one_stream() {
    let town = Town::new();
    town.topic("a/b");
    town.good("alice", "pub -t a/b -m past");
    let mut sub = town.start("bob", "sub -t a/+ -C 3 -v");
    assert_eq!(sub.line(), "a/b past");
    town.good("alice", "pub -t a/b -m new");
    assert_eq!(sub.line(), "a/b new");
    // A topic that is made later is delivered, too.
    town.topic("a/c");
    town.good("alice", "pub -t a/c -n");
    assert_eq!(sub.line(), "a/c ");
    assert!(sub.wait().success());
}

#[test]
fn how_it_ends() {
    let town = Town::new();
    town.topic("a");
    let started = Instant::now();
    let late = town.run("bob", "sub -t a -W 0.5");
    assert_eq!(late.code, 27, "{late:?}");
    assert!(late.err.contains("timed out"), "{}", late.err);
    assert!(started.elapsed() >= Duration::from_millis(500));
    assert_eq!(town.run("bob", "sub -t a -C 1 -W 0.5").code, 27);
    assert_eq!(town.good("bob", "sub -t a -E"), "");
    assert_eq!(town.good("bob", "sub -t a -e"), "");
    assert_eq!(town.good("bob", "sub -t nothing/# -e"), "");
}

#[test]
fn no_such_topic_and_not_a_member() {
    let town = Town::new();
    town.good("alice", "create mine --only-me");
    for line in ["sub -t absent -e", "pub -t absent -m x", "members absent"] {
        let ended = town.run("bob", line);
        assert_eq!(ended.code, 1, "{line}: {ended:?}");
        assert!(ended.err.contains("sealmq create 'absent'"), "{line}: {}", ended.err);
    }
    for line in ["pub -t mine -m x", "members mine"] {
        let ended = town.run("bob", line);
        assert_eq!(ended.code, 5, "{line}: {ended:?}");
        assert!(ended.err.contains("not a member of mine"), "{line}: {}", ended.err);
    }
    let twice = town.run("bob", "create mine --only-me");
    assert_eq!(twice.code, 1, "{twice:?}");
    assert!(twice.err.contains("mine already"), "{}", twice.err);
}

#[test]
fn a_subscriber_may_wait_for_its_topic() {
    let town = Town::new();
    let mut sub = town.start("bob", "sub -t later -C 1 --wait-for-topic");
    sub.says("waiting");
    town.topic("later");
    town.good("alice", "pub -t later -m here");
    assert_eq!(sub.line(), "here");
    assert!(sub.wait().success());
}

#[test]
fn topics_and_members() {
    let town = Town::new();
    town.topic("b/shared");
    town.good("alice", "create a/mine --only-me --durability memory --retain-count 7 --retain-age 2h");
    assert_eq!(town.good("alice", "topics"), "a/mine    owner  in memory only\nb/shared  owner\n");
    assert_eq!(town.good("alice", "topics b/# --names"), "b/shared\n");
    assert_eq!(town.good("bob", "topics"), "b/shared  member\n");
    assert_eq!(town.good("bob", "topics --all --names"), "a/mine\nb/shared\n");
    let table = town.good("alice", "topics -v");
    assert!(table.contains("7 or 64 MiB, 2h"), "{table}");
    let members = town.good("bob", "members b/shared");
    let columns: Vec<Vec<&str>> = members.lines().map(|l| l.split_whitespace().collect()).collect();
    let alice = town.world.client("alice").0.public().fingerprint().to_string();
    assert_eq!(columns[0], ["alice", "owner", &alice]);
    assert_eq!((columns[1][0], columns[1][1], columns[1][3]), ("bob", "member", "you"));
    assert!(town.good("bob", "stats").lines().any(|l| l.starts_with("topics") && l.ends_with(" 2")));
}

#[test]
fn ping_counts() {
    let town = Town::new();
    let out = town.good("alice", "ping -c 2");
    assert_eq!(out.lines().count(), 2);
    assert!(out.lines().all(|l| l.starts_with("broker at 127.0.0.1:") && l.ends_with(" ms")), "{out}");
}

#[test]
fn a_broker_may_be_waited_for() {
    let mut town = Town::new();
    town.kill_broker();
    assert_eq!(town.run("alice", "ping").code, 3);
    let mut ping = town.start("alice", "ping -W 50 -d");
    ping.says("not connected");
    town.start_broker();
    assert!(ping.line().contains("answered you"));
    assert!(ping.wait().success());
}

#[test]
fn whoever_reads_the_output_may_leave() {
    let town = Town::new();
    town.topic("a");
    town.good("alice", "pub -t a -m one");
    let mut sub = town.start("bob", "sub -t a");
    assert_eq!(sub.line(), "one");
    sub.close_output();
    // The thread that reads for us sees one more line, then the pipe closes.
    town.good("alice", "pub -t a -m two");
    assert!(sub.wait().success());
}

#[test]
fn mosquittos_flags_are_answered() {
    let town = Town::new();
    town.topic("a");
    let ended = town.run("alice", "pub -t a -m x -q 1 -r");
    assert_eq!((ended.code, ended.err.lines().count()), (0, 2), "{ended:?}");
    let ended = town.run("alice", "pub -t a -m x -q 1 -r --quiet");
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{ended:?}");
    let ended = town.run("alice", "sub -t a --insecure");
    assert_eq!(ended.code, 2, "{ended:?}");
}
