//! A broker that goes away and comes back.

use crate::support::Town;

#[test]
fn a_subscriber_comes_back_by_itself() {
    let mut town = Town::new();
    let sub = town.start("bob", "sub -t a --wait-for-topic");
    sub.says("waiting");
    town.kill_broker();
    sub.says("trying again");
    town.start_broker();
    sub.says("connected again");
    town.topic("a");
    town.good("alice", "pub -t a -m back");
    assert_eq!(sub.line(), "back");
}

#[test]
fn a_publisher_that_waits_for_input_comes_back() {
    let mut town = Town::new();
    town.topic("a");
    let mut publisher = town.start("alice", "pub -t a -l -v");
    publisher.type_in(b"before\n");
    assert_eq!(publisher.line(), "a 2");
    town.replace_broker();
    town.topic("a");
    publisher.type_in(b"after\n");
    publisher.close_input();
    // Its owner made the topic anew: that is said, and the message is for the new one's members.
    assert_eq!(publisher.line(), "a 2");
    publisher.says("a is a new topic of the same owner");
    assert!(publisher.wait().success());
    assert_eq!(town.good("bob", "sub -t a -e"), "after\n");
}

/// The broker is killed in the midst of it, several times: what it had not answered is sent again, and what
/// it had stored by then is there once.
#[test]
fn a_stream_goes_through_brokers_that_die() {
    let mut town = Town::new();
    town.topic("a");
    let sub = town.start("bob", "sub -t a --strict -F %o:%p");
    let mut publisher = town.start("alice", "pub -t a -l -v");
    let (mut answered, mut said) = (Vec::new(), Vec::new());
    for round in 0..4 {
        let lines: String = (0..400).map(|n| format!("{}\n", round * 400 + n)).collect();
        publisher.type_in(lines.as_bytes());
        // Some are answered, some are on their way, some are still to be sent.
        answered.extend((0..150).map(|_| publisher.line()));
        said.push(sub.line());
        if round < 3 {
            town.kill_broker();
            town.start_broker();
        }
    }
    publisher.close_input();
    answered.extend((0..1600 - answered.len()).map(|_| publisher.line()));
    assert!(publisher.wait().success());
    said.extend((0..1600 - said.len()).map(|_| sub.line()));
    let expected: Vec<String> = (0..1600).map(|n| format!("{}:{n}", n + 2)).collect();
    assert_eq!(said, expected, "each once, in order, without a hole");
    let offsets: Vec<String> = (0..1600).map(|n| format!("a {}", n + 2)).collect();
    assert_eq!(answered, offsets);
    assert_eq!(town.good("bob", "sub -t a -e -F %o:%p").lines().count(), 1600);
}

#[test]
fn a_shell_publishes_through_a_broker_that_dies() {
    let mut town = Town::new();
    town.topic("a");
    let mut shell = town.start("alice", "shell");
    shell.type_in(b"publish a one\n");
    shell.says("published to a, offset 2");
    town.kill_broker();
    shell.type_in(b"publish a two\n");
    shell.says("trying again");
    town.start_broker();
    shell.says("published to a, offset 3");
    shell.type_in(b"exit\n");
    assert!(shell.wait().success());
    assert_eq!(town.good("bob", "sub -t a -e"), "one\ntwo\n");
}

#[test]
fn a_reader_with_a_place_goes_on_whoever_dies() {
    let mut town = Town::new();
    town.topic("a");
    let publish = |town: &Town, range: std::ops::Range<u32>| {
        let lines: String = range.map(|n| format!("m{n}\n")).collect();
        assert_eq!(town.run_with("alice", "pub -t a -l", lines.as_bytes()).code, 0);
    };
    publish(&town, 0..5);
    let sub = town.start("bob", "sub a --resume log");
    let mut said: Vec<String> = (0..5).map(|_| sub.line()).collect();
    town.kill_broker();
    sub.says("trying again");
    sub.kill();
    town.start_broker();
    publish(&town, 5..9);
    said.extend(town.good("bob", "sub a --resume log -C 2 --strict").lines().map(str::to_owned));
    town.kill_broker();
    town.start_broker();
    said.extend(town.good("bob", "sub a --resume log -e --strict").lines().map(str::to_owned));
    assert_eq!(said, (0..9).map(|n| format!("m{n}")).collect::<Vec<_>>());
}

#[test]
fn a_publisher_says_how_many_were_answered_when_the_broker_stays_away() {
    let mut town = Town::new();
    town.topic("a");
    let mut publisher = town.start("alice", "pub -t a -l -v -W 1");
    publisher.type_in(b"one\n");
    assert_eq!(publisher.line(), "a 2");
    town.kill_broker();
    publisher.type_in(b"two\n");
    publisher.close_input();
    publisher.says("1 of 2 messages sent were answered");
    assert_eq!(publisher.wait().code(), Some(3));
}
