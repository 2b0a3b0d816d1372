//! `export`: a topic's past as JSON lines, and what is said of it by `topics`.

use std::fs;

use serde_json::Value;

use crate::support::Town;

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn a_past_is_exported_with_its_senders_and_its_end() {
    let town = Town::new();
    town.topic("a");
    town.good("alice", "pub -t a -m one");
    town.good("bob", "pub -t a -m two");
    town.good("alice", "rotate a");
    let binary = town.run_with("bob", "pub -t a -s", b"\xff\x00");
    assert_eq!(binary.code, 0, "{binary:?}");
    let all = lines(&town.good("bob", "export a"));
    let [one, two, three, end] = &all[..] else { panic!("{all:?}") };
    assert_eq!(
        (&one["payload"], &one["sender"], &one["offset"]),
        (&"one".into(), &"alice".into(), &2.into())
    );
    assert_eq!((&two["sender"], &two["verified"], &two["epoch"]), (&"bob".into(), &true.into(), &0.into()));
    assert_eq!((&three["payload_b64"], &three["epoch"]), (&"/wA=".into(), &1.into()));
    assert_eq!((&end["event"], &end["messages"], &end["next"]), (&"end".into(), &3.into(), &6.into()));
    assert_eq!((&end["unverified"], &end["unreadable"]), (&0.into(), &0.into()));
    assert_eq!(end["id"].as_str().map(str::len), Some(64));

    let some = lines(&town.good("bob", "export a --from offset=3 --until offset=5"));
    assert_eq!(some.len(), 2);
    assert_eq!(some[0]["payload"], "two");
    assert_eq!(lines(&town.good("bob", "export a --until 1h")).len(), 1, "all came after that");
    let carol = town.run("carol", "export a");
    assert_eq!(carol.code, 5, "{carol:?}");
    assert_eq!(town.run("bob", "export nothing").code, 1);
}

#[test]
fn a_file_is_written_whole_and_replaces_nothing() {
    let town = Town::new();
    town.good("alice", "create a --to bob --trust-new --retain-count 2");
    for n in 0..4 {
        town.good("alice", &format!("pub -t a -m {n}"));
    }
    let file = town.path("a.jsonl");
    let export = format!("export a -o {}", file.display());
    assert_eq!(town.good("bob", &export), "");
    let all = lines(&fs::read_to_string(&file).expect("there"));
    assert_eq!(all.iter().filter_map(|l| l["payload"].as_str()).collect::<Vec<_>>(), ["2", "3"]);
    assert_eq!(all.last().expect("an end")["messages"], 2);
    let again = town.run("bob", &export);
    assert!(again.code == 1 && again.err.contains("there already"), "{again:?}");
    town.good("bob", &format!("{export} --force"));
}

#[test]
fn topics_say_what_is_kept_and_where() {
    let mut town = Town::new();
    town.good("alice", "create on/disk --only-me --retain-age 2h");
    town.good("alice", "create in/ram --only-me --durability memory");
    for topic in ["on/disk", "in/ram"] {
        town.good("alice", &format!("pub -t {topic} -m x"));
    }
    let plain = town.good("alice", "topics");
    assert!(
        plain.contains("in/ram   owner  in memory only\n") && plain.contains("on/disk  owner\n"),
        "{plain}"
    );
    let table = town.good("alice", "topics -v on/disk");
    for word in ["OLDEST", "STORED", "ago", "disk", "10000 or 64 MiB, 2h"] {
        assert!(table.contains(word), "{word}: {table}");
    }
    town.kill_broker();
    town.start_broker();
    let all = lines(&town.good("alice", "topics -J"));
    let [ram, disk] = &all[..] else { panic!("{all:?}") };
    assert_eq!(
        (&ram["topic"], &ram["messages"], &ram["durability"]),
        (&"in/ram".into(), &0.into(), &"memory".into())
    );
    assert_eq!(
        (&disk["messages"], &disk["next"], &disk["retain_age_ms"]),
        (&1.into(), &3.into(), &7_200_000.into())
    );
    assert!(disk["bytes"].as_u64().is_some_and(|n| n > 0) && disk["oldest_ms"].as_u64().is_some(), "{disk}");
}
