//! `pub`: its sources, its limits, and that it says how many messages were answered.

use std::fs;

use sealmq::base::limits::MESSAGE_BYTES_MAX;

use crate::support::Town;

#[test]
fn each_source() {
    let town = Town::new();
    town.topic("a");
    fs::write(town.path("file"), "of a file").expect("written");
    let file = format!("pub -t a -f {}", town.path("file").display());
    for (line, input) in [
        ("pub -t a -m text", ""),
        (&file, ""),
        ("pub -t a -s", "two\nlines"),
        ("pub -t a -l", "x\n\ny"),
        ("pub -t a -n", ""),
    ] {
        let ended = town.run_with("alice", line, input.as_bytes());
        assert_eq!((ended.code, ended.out.as_str(), ended.err.as_str()), (0, "", ""), "{line}");
    }
    let printed = town.good("bob", "sub -t a -e -F [%p]");
    assert_eq!(printed, "[text]\n[of a file]\n[two\nlines]\n[x]\n[]\n[y]\n[]\n");
}

#[test]
fn offsets_on_demand() {
    let town = Town::new();
    town.topic("a");
    let ended = town.run_with("alice", "pub -t a -l -v", b"x\ny\n");
    assert_eq!(ended.out, "a 2\na 3\n", "{ended:?}");
}

#[test]
fn a_long_stream_keeps_its_order() {
    let town = Town::new();
    town.topic("a");
    let input: String = (0..5000).map(|n| format!("{n}\n")).collect();
    let ended = town.run_with("alice", "pub -t a -l", input.as_bytes());
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(town.good("bob", "sub -t a -e"), input);
}

#[test]
fn a_message_of_any_content_up_to_a_mebibyte() {
    let town = Town::new();
    town.topic("a");
    let largest: Vec<u8> = (0..MESSAGE_BYTES_MAX).map(|i| (i * 31) as u8).collect();
    assert_eq!(town.run_with("alice", "pub -t a -s", &largest).code, 0);
    assert_eq!(town.good("bob", "sub -t a -e -F %l"), format!("{MESSAGE_BYTES_MAX}\n"));
    let hex = town.good("bob", "sub -t a -e -F %x");
    let expected: String = largest.iter().map(|b| format!("{b:02x}")).collect();
    assert!(hex.trim_end() == expected, "every byte came as it was");

    let too_long = town.run_with("alice", "pub -t a -s", &vec![b'x'; MESSAGE_BYTES_MAX + 1]);
    assert_eq!(too_long.code, 1, "{too_long:?}");
    assert!(too_long.err.contains("1048576 bytes"), "{}", too_long.err);
    let mut lines = b"short\n".to_vec();
    lines.resize(MESSAGE_BYTES_MAX + 100, b'x');
    let too_long = town.run_with("alice", "pub -t a -l", &lines);
    assert_eq!(too_long.code, 1, "{too_long:?}");
    assert!(too_long.err.contains("line 2") && too_long.err.contains("1 of 1"), "{}", too_long.err);
}

#[test]
fn a_pipe_that_stays_open_is_sent_as_it_comes() {
    let town = Town::new();
    town.topic("a");
    let sub = town.start("bob", "sub -t a");
    let mut publisher = town.start("alice", "pub -t a -l");
    for text in ["one", "two"] {
        publisher.type_in(format!("{text}\n").as_bytes());
        assert_eq!(sub.line(), text);
    }
    publisher.type_in(b"without newline");
    publisher.close_input();
    assert_eq!(sub.line(), "without newline");
    assert!(publisher.wait().success());
}

#[test]
fn what_cannot_be_read_is_said_before_anything_is_dialled() {
    let town = Town::without_broker();
    let ended = town.run("alice", "pub -t a -f /nowhere");
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("/nowhere"), "{}", ended.err);
}
