//! `sub --resume`: a reader that is killed, a pipe that closes, and places that are listed and forgotten.

use std::fs;

use crate::support::{Running, Town};

fn publish(town: &Town, range: std::ops::Range<u32>) {
    let lines: String = range.map(|n| format!("m{n}\n")).collect();
    let ended = town.run_with("alice", "pub -t a -l", lines.as_bytes());
    assert_eq!(ended.code, 0, "{ended:?}");
}

fn lines(sub: &Running, count: u32) -> Vec<String> {
    (0..count).map(|_| sub.line()).collect()
}

fn said(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| format!("m{n}")).collect()
}

#[test]
fn a_reader_that_is_killed_goes_on_behind_what_it_printed() {
    let town = Town::new();
    town.topic("a");
    publish(&town, 0..50);
    let mut seen = Vec::new();
    // Each is killed right behind a line that was read: at most that one comes again.
    while seen.len() < 50 {
        let sub = town.start("bob", "sub a --resume log");
        let mut new = lines(&sub, 7.min(51 - seen.len() as u32).max(1));
        sub.kill();
        // What it had printed meanwhile has its place behind it, and is in the pipe.
        new.extend(sub.rest());
        if new.first() == seen.last() {
            new.remove(0);
        }
        seen.extend(new);
    }
    assert_eq!(seen, said(0..50));
    publish(&town, 50..53);
    let rest = town.good("bob", "sub a --resume log -e");
    let rest: Vec<&str> = rest.lines().filter(|line| *line != "m49").collect();
    assert_eq!(rest, said(50..53));
    assert_eq!(town.good("bob", "sub a --resume log -e"), "");
}

#[test]
fn what_was_remembered_and_the_place_need_not_agree() {
    let town = Town::new();
    town.topic("a");
    publish(&town, 0..5);
    assert_eq!(town.good("bob", "sub a --resume log -C 2"), "m0\nm1\n");
    // Another reader of the same identity is ahead: what it remembers is no reason to call this a replay.
    assert_eq!(town.good("bob", "sub a -e --strict").lines().count(), 5);
    assert_eq!(town.good("bob", "sub a --resume log -e --strict"), "m2\nm3\nm4\n");
    publish(&town, 5..8);
    let state = fs::read_dir(town.path("state/sealmq")).expect("a state folder").map_while(Result::ok);
    let pins: Vec<_> = state.map(|folder| folder.path().join("pins.json")).collect();
    let before: Vec<_> = pins.iter().map(|file| fs::read(file).ok()).collect();
    assert_eq!(town.good("bob", "sub a --resume log -C 2 --strict"), "m5\nm6\n");
    // What was remembered last is lost: the place is ahead of it.
    for (file, content) in pins.iter().zip(before) {
        if let Some(content) = content {
            fs::write(file, content).expect("written");
        }
    }
    assert_eq!(town.good("bob", "sub a --resume log -e --strict"), "m7\n");
}

#[test]
fn a_closed_pipe_and_a_count_keep_the_exact_place() {
    let town = Town::new();
    town.topic("a");
    publish(&town, 0..10);
    assert_eq!(town.good("bob", "sub a --resume log -C 3"), "m0\nm1\nm2\n");
    let mut sub = town.start("bob", "sub a --resume log");
    assert_eq!(lines(&sub, 7), said(3..10));
    sub.close_output();
    publish(&town, 10..12);
    assert!(sub.wait().success(), "whoever read it has enough");
    let rest = town.good("bob", "sub a --resume log -e -J");
    assert!(rest.lines().next().is_none_or(|l| l.contains("m10") || l.contains("m11")), "{rest}");
    let sub = town.start("bob", "sub a --resume log");
    publish(&town, 12..13);
    assert_eq!(sub.line(), "m12");
    sub.interrupt();
}

#[test]
fn a_name_has_one_reader_its_own_places_and_an_end() {
    let town = Town::new();
    town.topic("a");
    town.topic("b");
    publish(&town, 0..4);
    assert_eq!(town.good("bob", "sub a b --resume late --from latest -e"), "");
    let sub = town.start("bob", "sub # --resume log");
    assert_eq!(lines(&sub, 4), said(0..4));
    let second = town.run("bob", "sub a --resume log -e");
    assert_eq!(second.code, 1);
    assert!(second.err.contains("--resume log is in use by another sealmq"), "{}", second.err);
    publish(&town, 4..5);
    assert_eq!(sub.line(), "m4");
    sub.kill();
    // --from is for topics that have no place yet.
    assert_eq!(town.good("bob", "sub a --resume late --from earliest -e"), "m4\n");
    let listed = town.good("bob", "resume");
    // The kill may have come before the last place was noted.
    for line in ["late  a  next offset 7", "late  b  next offset 2", "log   a  next offset "] {
        assert!(listed.contains(line), "{line}: {listed}");
    }
    town.good("bob", "resume log --forget");
    assert!(!town.good("bob", "resume").contains("log"));
    assert_eq!(town.good("bob", "sub a --resume log -e").lines().count(), 5);
    let unknown = town.run("bob", "resume nobody");
    assert!(unknown.code == 1 && unknown.err.contains("no resume name nobody"), "{unknown:?}");
}

#[test]
fn another_log_and_a_gap_are_told() {
    let town = Town::new();
    town.good("alice", "create a --to bob --trust-new --retain-count 3");
    publish(&town, 0..2);
    assert_eq!(town.good("bob", "sub a --resume log -e"), "m0\nm1\n");
    publish(&town, 2..9);
    let gap = town.run("bob", "sub a --resume log -e");
    assert_eq!((gap.code, gap.out.as_str()), (0, "m6\nm7\nm8\n"));
    assert!(gap.err.contains("offsets 4 to 7 are no longer kept"), "{}", gap.err);
    town.good("alice", "delete a --yes");
    town.topic("a");
    publish(&town, 20..22);
    let anew = town.run("bob", "sub a --resume log -e");
    assert_eq!((anew.code, anew.out.as_str()), (0, "m20\nm21\n"));
    assert!(anew.err.contains("it was made anew since"), "{}", anew.err);
    assert_eq!(town.good("bob", "sub a --resume log -e"), "");
}
