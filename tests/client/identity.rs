//! Who one is, and what is said when that is not right.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::{Town, read, run};

#[test]
fn several_identities_in_a_home_are_listed() {
    let town = Town::new();
    let mut command = town.sealmq("alice");
    command.env_remove("SEALMQ_AS").arg("ping");
    let ended = run(command, b"");
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.err.contains("alice, bob, carol") && ended.err.contains("--as NAME"), "{}", ended.err);
    assert!(town.good("alice", "ping --as bob").contains("answered you, bob"));
    for name in ["bob", "carol"] {
        fs::remove_file(town.path(&format!("keys/{name}.key"))).expect("it was there");
    }
    let mut command = town.sealmq("alice");
    command.env_remove("SEALMQ_AS").arg("ping");
    assert!(run(command, b"").out.contains("answered you, alice"), "the only one is who one is");
}

#[test]
fn a_home_here_and_its_settings() {
    let town = Town::new();
    fs::write(town.path("sealmq.toml"), format!("host = 'localhost'\nport = {}\nas = 'bob'\n", town.port))
        .expect("written");
    let mut command = town.sealmq("alice");
    for variable in ["SEALMQ_HOME", "SEALMQ_AS", "SEALMQ_HOST", "SEALMQ_PORT"] {
        command.env_remove(variable);
    }
    command.current_dir(town.path("")).arg("ping");
    let ended = run(command, b"");
    assert!(ended.out.contains("at localhost:") && ended.out.contains("you, bob"), "{ended:?}");
}

#[test]
fn a_key_that_others_can_read_is_refused_with_what_mends_it() {
    let town = Town::new();
    let key = town.path("keys/alice.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("our own file");
    let ended = town.run("alice", "ping");
    assert_eq!(ended.code, 4, "{ended:?}");
    assert!(ended.err.contains("chmod 600") && ended.err.contains("alice.key"), "{}", ended.err);
}

#[test]
fn what_is_missing_is_named() {
    let town = Town::without_broker();
    for (line, code, word) in [
        ("ping --as erna", 1, "erna.crt"),
        ("ping --home /nowhere", 1, "/nowhere"),
        ("ping --cafile /nowhere.crt", 1, "/nowhere.crt"),
        ("ping --key a", 2, "--cert"),
        ("ping -p 99999", 2, "99999"),
        ("ping", 3, "127.0.0.1:"),
        ("frobnicate", 2, "frobnicate"),
        ("sub -h", 2, "-h is the host"),
    ] {
        let ended = town.run("alice", line);
        assert_eq!(ended.code, code, "{line}: {ended:?}");
        assert!(ended.err.contains(word), "{line}: {}", ended.err);
        assert!(ended.out.is_empty(), "{line}: {}", ended.out);
    }
}

#[test]
fn a_brokers_certificate_is_no_clients() {
    let town = Town::new();
    let broker_as_client = town.run("broker", "ping");
    assert_eq!(broker_as_client.code, 4, "{broker_as_client:?}");
    assert!(broker_as_client.err.contains("broker.crt"), "{}", broker_as_client.err);
}

#[test]
fn fingerprints_need_no_broker() {
    let town = Town::without_broker();
    let own = town.good("alice", "fingerprint");
    let expected = town.world.client("alice").0.public().fingerprint().to_string();
    assert_eq!(own, format!("{expected}  alice\n"));
    let listed = town.good("alice", "fingerprint bob broker");
    let names: Vec<&str> = listed.lines().filter_map(|line| line.split("  ").nth(1)).collect();
    assert_eq!(names, ["bob", "broker"]);
    let file = town.path("certs/carol.crt");
    assert!(town.good("alice", &format!("fingerprint {}", file.display())).ends_with("  carol\n"));
}

#[test]
fn completions_know_the_verbs() {
    let town = Town::without_broker();
    for shell in ["bash", "zsh", "fish"] {
        let script = town.good("alice", &format!("completions {shell}"));
        assert!(script.contains("fingerprint") && script.contains("subscribe"), "{shell}");
    }
}

#[test]
fn new_readers_are_remembered_for_each_identity() {
    let town = Town::new();
    let first = town.run("alice", "create a");
    assert_eq!(first.code, 0, "{first:?}");
    assert!(first.out.contains("for you alone") && first.err.contains("--trust-new"), "{first:?}");
    let asked_for = town.run("alice", "create b --to bob");
    assert_eq!(asked_for.code, 1, "{asked_for:?}");
    let bob = town.world.client("bob").0.public().fingerprint().to_string();
    assert!(asked_for.err.contains(&bob), "{}", asked_for.err);
    assert!(town.good("alice", "create c --to bob --trust-new").contains("new"));
    assert!(!town.good("alice", "create d --to bob").contains("new"), "bob was seen");
    assert_eq!(town.run("carol", "create e --to bob").code, 1, "but not by carol");

    let alice = town.world.client("alice").0.public().fingerprint().to_string();
    let pins = town.path(&format!("state/sealmq/{alice}/pins.json"));
    assert!(read(&pins).contains(&bob), "{}", read(&pins));
    assert_eq!(fs::metadata(&pins).expect("there").permissions().mode() & 0o777, 0o600);
}
