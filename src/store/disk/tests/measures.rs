//! What the engine costs, to be looked at: each alone, with `--ignored --nocapture`.

use std::time::Instant;

use super::*;

/// The resident set in KiB: what is the process's own, and what is the program's file.
fn resident() -> (u64, u64) {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has it");
    let kib = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).expect("Linux has it");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
    };
    (kib("RssAnon:"), kib("RssFile:"))
}

#[test]
#[ignore = "measures the whole process"]
fn the_resident_set_grows_little() {
    let folder = folder();
    let before = resident();
    let (mut store, _) = reopen(folder.path());
    let opened = resident();
    store.run(create(LOG, 1)).expect("there is room");
    for counters in (0..20_000).collect::<Vec<_>>().chunks(100) {
        store.run_all(counters.iter().map(|c| append_of(LOG, 0, *c, 1024)));
    }
    let written = resident();
    let mut from = Offset(0);
    while from < Offset(20_001) {
        let below = Offset(u64::MAX);
        let op = Op::Read { log: LOG, from, below, bytes_max: 1 << 18, records_only: false };
        let Ok(Outcome::Entries { next, .. }) = store.run(op) else { panic!("it can be read") };
        from = next;
    }
    let read = resident();
    println!("KiB, own and file: {before:?} before, {opened:?} opened, {written:?} written, {read:?} read");
    // Pages of the program that were not touched before are not the engine's to answer for here:
    // a program without optimisation has many.
    assert!(read.0 - before.0 < 5 * 1024);
}

#[test]
#[ignore = "writes a GiB"]
fn a_start_with_a_million_messages_takes_less_than_a_second() {
    let folder = TempDir::new().expect("a folder can be made");
    let (mut store, _) = reopen(folder.path());
    let logs: Vec<_> = (0..100).map(Incarnation).collect();
    store.run_all(logs.iter().map(|log| create(*log, 3)));
    let begun = Instant::now();
    for counters in (0..10_000).collect::<Vec<_>>().chunks(50) {
        store.run_all(counters.iter().flat_map(|c| logs.iter().map(|log| append_of(*log, 0, *c, 1024))));
    }
    println!("written in {:?}, {} commits", begun.elapsed(), store.disk.commits());
    drop(store);
    let begun = Instant::now();
    let (mut store, contents) = reopen(folder.path());
    let opened = begun.elapsed();
    assert_eq!(contents.logs.iter().map(|stored| stored.kept.messages).sum::<u64>(), 1_000_000);
    let last = store.run(Op::Find { log: logs[5], what: Find::Since(Wall(5100)) });
    assert_eq!(last, Ok(Outcome::Found(Offset(5003))));
    println!("opened in {opened:?}");
    assert!(opened < Duration::from_secs(1), "{opened:?}");
}
