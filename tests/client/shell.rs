//! `sealmq shell` with commands from a pipe.

use crate::support::Town;

#[test]
fn a_script_runs_line_by_line() {
    let town = Town::new();
    let script = b"# a comment\n\
        create home/kitchen --to bob --trust-new\n\
        publish home/kitchen it is  '  21.5  '\n\
        topics\n\
        members home/kitchen\n\
        subscribe home/# --from last=1\n\
        unsubscribe home/#\n\
        ping\n\
        whoami\n\
        exit\n\
        publish home/kitchen never\n";
    let ended = town.run_with("alice", "shell", script);
    assert_eq!(ended.code, 0, "{ended:?}");
    let lines: Vec<&str> = ended.out.lines().collect();
    assert_eq!(lines[0], "created home/kitchen for 2 members");
    assert!(lines.contains(&"home/kitchen  owner"), "{lines:?}");
    assert!(lines.iter().any(|l| l.starts_with("bob") && l.contains("member")), "{lines:?}");
    assert!(lines.iter().any(|l| l.starts_with("the broker answered in")), "{lines:?}");
    assert!(lines.iter().any(|l| l.starts_with("connected to broker at 127.0.0.1:")), "{lines:?}");
    assert_eq!(town.good("bob", "sub -t home/kitchen -e"), "it is   21.5  \n");
}

#[test]
fn a_scripts_subscriptions_catch_up_before_it_ends() {
    let town = Town::new();
    town.topic("a");
    let sent: String = (0..500).map(|n| format!("{n}\n")).collect();
    assert_eq!(town.run_with("alice", "pub -t a -l", sent.as_bytes()).code, 0);
    let ended = town.run_with("bob", "shell", b"subscribe a");
    assert_eq!(ended.code, 0, "{ended:?}");
    let lines: Vec<&str> = ended.out.lines().collect();
    assert_eq!(lines.len(), 500);
    assert!(lines[499].ends_with(" a alice 499"), "{}", lines[499]);
}

#[test]
fn errors_do_not_end_a_script_but_count() {
    let town = Town::new();
    town.topic("a");
    let script = b"publsh a x\npublish absent x\npublish a 'x\npublish a good\n";
    let ended = town.run_with("alice", "shell", script);
    assert_eq!(ended.code, 2, "the last failure's code: {ended:?}");
    for word in ["line 1: there is no command publsh; did you mean publish?", "line 2: ", "line 3: "] {
        assert!(ended.err.contains(word), "{word}: {}", ended.err);
    }
    assert_eq!(town.good("bob", "sub -t a -e"), "good\n");
}

#[test]
fn a_script_without_a_broker_ends() {
    let mut town = Town::new();
    town.kill_broker();
    assert_eq!(town.run_with("alice", "shell", b"topics\n").code, 3);
}

#[test]
fn messages_arrive_while_commands_are_typed() {
    let town = Town::new();
    town.topic("a");
    let mut shell = town.start("bob", "shell");
    shell.type_in(b"subscribe a\n");
    shell.says("subscribed to a");
    town.good("alice", "pub -t a -m one");
    assert!(shell.line().ends_with(" a alice one"));
    shell.type_in(b"publish a two\n");
    assert!(shell.line().ends_with(" a bob two"));
    shell.close_input();
    assert!(shell.wait().success());
}
