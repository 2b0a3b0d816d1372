//! What a client remembers between two runs, and the verbs that show and change it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use sealmq::crypto::cert::Role;
use sealmq::crypto::cert::testing::key;

use crate::support::{Town, read};

fn fingerprint(who: &str) -> String {
    key(who).public().fingerprint().to_string()
}

/// The file of what `who` remembers.
fn pins(town: &Town, who: &str) -> std::path::PathBuf {
    town.path(&format!("state/sealmq/{}/pins.json", fingerprint(who)))
}

/// Replaces a text in it, which has to be there.
fn edit(town: &Town, who: &str, from: &str, to: &str) {
    let before = read(&pins(town, who));
    assert!(before.contains(from), "{from}: {before}");
    fs::write(pins(town, who), before.replace(from, to)).expect("written");
}

#[test]
fn whoever_was_met_is_listed_and_shown() {
    let town = Town::new();
    assert_eq!(town.good("bob", "trust list"), "");
    town.good("alice", "create a/b --trust-new");
    town.good("alice", "pub -t a/b -m x");
    assert_eq!(town.good("bob", "sub -t a/b -e"), "x\n");
    let list = town.good("bob", "trust list");
    let names: Vec<&str> = list.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names, ["alice", "carol"]);
    assert!(list.contains(&fingerprint("alice")[..16]) && list.contains(&town_year()), "{list}");
    let verbose = town.good("bob", "trust list -v");
    assert!(
        verbose.contains("a/b") && verbose.contains("record 1") && verbose.contains("of alice"),
        "{verbose}"
    );
    let shown = town.good("bob", "trust show alice");
    assert!(shown.contains(&fingerprint("alice")) && shown.contains("owner of a/b"), "{shown}");
    let line: serde_json::Value =
        serde_json::from_str(&town.good("bob", "trust show alice -J")).expect("JSON");
    assert_eq!((&line["name"], &line["fingerprint"]), (&"alice".into(), &fingerprint("alice").into()));
    let lines = town.good("bob", "trust list -v -J");
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    assert_eq!((lines.len(), &lines[2]["topic"], &lines[2]["record"]), (3, &"a/b".into(), &1.into()));
    let nobody = town.run("bob", "trust show erna");
    assert_eq!(nobody.code, 1, "{nobody:?}");
    assert!(
        nobody.err.contains("erna was never seen") && nobody.err.contains("alice, carol"),
        "{}",
        nobody.err
    );
    assert_eq!(fs::metadata(pins(&town, "bob")).expect("there").permissions().mode() & 0o777, 0o600);
}

fn town_year() -> String {
    jiff::Timestamp::now().to_string()[..4].to_owned()
}

#[test]
fn a_new_key_under_an_old_name_stops_until_a_person_says_it_is_right() {
    let town = Town::new();
    town.topic("a");
    // Carol's key under bob's name, by the same CA; the broker knows only this one by now.
    town.good("bob", "sub -t a -e");
    town.write_key("bob", &key("carol"));
    town.write_certificate("bob", town.world.issue("bob", "carol", Role::Client, &[]).der());
    town.good("bob", "ping");
    let alice = pins(&town, "alice");
    assert!(read(&alice).contains(&fingerprint("bob")));

    // As if it had been this one that alice knew, and the other one came now.
    edit(&town, "alice", &fingerprint("bob"), &fingerprint("broker"));
    let line = "create c --to bob";
    let stopped = town.run("alice", line);
    assert_eq!(stopped.code, 7, "{stopped:?}");
    assert!(stopped.err.contains("bob"), "{}", stopped.err);

    let wrong = town.run("alice", "trust replace bob --fingerprint 1234");
    assert_eq!(wrong.code, 2, "{wrong:?}");
    let colons: Vec<String> =
        fingerprint("bob").as_bytes().chunks(2).map(|p| String::from_utf8_lossy(p).into_owned()).collect();
    let said = town.good("alice", &format!("trust replace bob --fingerprint {}", colons.join(":")));
    assert!(said.contains(&fingerprint("broker")) && said.contains(&fingerprint("bob")), "{said}");
    let shown = town.good("alice", "trust show bob");
    assert!(shown.contains(&format!("before: sha256:{}", fingerprint("broker"))), "{shown}");
    let again = town.good("alice", &format!("trust replace bob --fingerprint {}", fingerprint("bob")));
    assert!(again.contains("already"), "{again}");
    assert_eq!(
        town.run("alice", &format!("trust replace erna --fingerprint {}", fingerprint("bob"))).code,
        1
    );
}

#[test]
fn a_changed_member_stops_create_and_both_keys_are_shown() {
    let town = Town::new();
    town.topic("a");
    edit(&town, "alice", &fingerprint("bob"), &fingerprint("broker"));
    let stopped = town.run("alice", "create b --to bob");
    assert_eq!(stopped.code, 7, "{stopped:?}");
    for text in [fingerprint("bob"), fingerprint("broker"), "sealmq trust replace bob".to_owned()] {
        assert!(stopped.err.contains(&text), "{text}: {}", stopped.err);
    }
    assert_eq!(town.good("alice", "topics --names"), "a\n", "nothing was made");
    town.good("alice", &format!("trust replace bob --fingerprint {}", fingerprint("bob")));
    town.good("alice", "create b --to bob");
}

#[test]
fn a_topic_of_another_owner_or_an_older_one_is_found_out_in_the_next_run() {
    let mut town = Town::new();
    town.topic("a");
    town.good("bob", "sub -t a -e");
    // The broker's memory is gone, and carol takes the name.
    town.replace_broker();
    town.good("carol", "create a --to bob --trust-new");
    for line in ["sub -t a -e", "pub -t a -m x", "members a"] {
        let ended = town.run("bob", line);
        assert_eq!(ended.code, 7, "{line}: {ended:?}");
        for text in [fingerprint("alice"), fingerprint("carol"), "sealmq trust forget a".to_owned()] {
            assert!(ended.err.contains(&text), "{line}: {}", ended.err);
        }
    }
    assert!(town.good("bob", "trust forget a").contains("of alice"));
    assert_eq!(town.run("bob", "trust forget a").code, 1);
    town.good("bob", "pub -t a -m x");

    // A broker that shows less than was seen.
    edit(&town, "bob", "\"number\": 1", "\"number\": 4");
    for line in ["pub -t a -m x", "sub -t a -e"] {
        let older = town.run("bob", line);
        assert_eq!(older.code, 7, "{line}: {older:?}");
        assert!(older.err.contains("record 1") && older.err.contains("record 4"), "{}", older.err);
    }
    // Its owner may make it anew.
    town.replace_broker();
    town.good("carol", "create a --to bob");
    let anew = town.run("bob", "sub -t a -e");
    assert_eq!(anew.code, 0, "{anew:?}");
    assert!(anew.err.contains("new topic of the same owner"), "{}", anew.err);
}

#[test]
fn a_damaged_file_stops_and_a_missing_one_does_not() {
    let town = Town::new();
    town.topic("a");
    town.good("bob", "sub -t a -e");
    fs::write(pins(&town, "bob"), "{\n  \"version\": 1,\n  rubbish").expect("written");
    let damaged = town.run("bob", "sub -t a -e");
    assert_eq!(damaged.code, 1, "{damaged:?}");
    assert!(damaged.err.contains("pins.json") && damaged.err.contains("line 3"), "{}", damaged.err);
    assert!(read(&pins(&town, "bob")).ends_with("rubbish"), "as it was");
    fs::remove_file(pins(&town, "bob")).expect("there");
    town.good("bob", "sub -t a -e");
    assert!(pins(&town, "bob").exists());
}

#[test]
fn without_a_state_folder_one_is_warned_and_goes_on() {
    let town = Town::new();
    town.topic("a");
    fs::write(town.path("file"), "").expect("written");
    let mut command = town.sealmq("bob");
    command.env("XDG_STATE_HOME", town.path("file")).args(["sub", "-t", "a", "-e"]);
    let ended = crate::support::run(command, b"");
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(ended.err.matches("nothing is remembered between two runs").count(), 1, "{}", ended.err);
}
