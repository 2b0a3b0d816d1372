//! Retention on disk: what a trim drops is gone at once, and its room is given back in small steps.

use super::*;

#[test]
fn a_long_trim_is_swept_and_its_room_given_back() {
    let folder = folder();
    let (mut store, _) = reopen(folder.path());
    store.run(create(LOG, 1)).expect("there is room");
    store.run(create(Incarnation(2), 1)).expect("there is room");
    let both = [LOG, Incarnation(2)];
    for counters in (0..10_000).collect::<Vec<_>>().chunks(1000) {
        let ops = counters.iter().flat_map(|c| both.map(|log| append_of(log, 0, *c, 1000)));
        store.run_all(ops);
    }
    let pages = |store: &mut Waiting| store.probe(|d| schema::number(&d.connection, "page_count"));
    let full = pages(&mut store).expect("a number");
    let results = store.run_all([trim(LOG, 100), append(LOG, 10_000), Op::Remove { log: Incarnation(2) }]);
    let Ok(Outcome::Trimmed { kept, .. }) = &results[0] else { panic!("{results:?}") };
    assert_eq!((kept.messages, kept.oldest.map(|(offset, _)| offset)), (100, Some(Offset(9901))));
    let entries = store.read_all(LOG).expect("it can be read");
    assert_eq!(entries.len(), 1 + 101, "what is not swept yet is gone all the same");
    let found = store.run(Op::Find { log: LOG, what: Find::Last(100) });
    assert_eq!(found, Ok(Outcome::Found(Offset(9902))));
    // A restart goes on with what is left to sweep.
    drop(store);
    let (mut store, _) = reopen(folder.path());
    while store.probe(|database| database.tidy().expect("the disk works")) {}
    let left = pages(&mut store).expect("a number");
    assert!(left < full / 10, "{left} of {full} pages are left");
    store.probe(|database| database.checkpoint("TRUNCATE")).expect("the disk works");
    let bytes = fs::metadata(folder.path().join("sealmq.db")).expect("it is there").len();
    assert_eq!(bytes, left as u64 * 4096);
    assert_eq!(store.read_all(LOG).expect("it can be read"), entries);
}

#[test]
fn room_is_given_back_whatever_the_limit() {
    let keeps = [
        Keep { messages: 10, ..Keep::default() },
        Keep { bytes: 10_000, ..Keep::default() },
        Keep { since: Wall(100 + 1990), ..Keep::default() },
    ];
    for keep in keeps {
        let folder = folder();
        let (mut store, _) = reopen(folder.path());
        store.run(create(LOG, 1)).expect("there is room");
        let empty = store.used_bytes();
        store.run_all((0..2000).map(|counter| append_of(LOG, 0, counter, 1000)));
        let full = pages(&mut store);
        let trimmed = store.run(Op::Trim { log: LOG, keep });
        let Ok(Outcome::Trimmed { kept, .. }) = trimmed else { panic!("{trimmed:?}") };
        assert_eq!((kept.messages, kept.bytes), (10, 10_000), "{keep:?}");
        assert_eq!(kept.oldest, Some((Offset(1991), Wall(2090))));
        let each = Content::message_bytes(1000);
        assert_eq!(store.used_bytes(), empty + sender(0).bytes() + 10 * each);
        while store.probe(|database| database.tidy().expect("the disk works")) {}
        assert!(pages(&mut store) < full / 2, "{keep:?}");
    }
}

fn pages(store: &mut Waiting) -> i64 {
    store.probe(|database| schema::number(&database.connection, "page_count")).expect("a number")
}

#[test]
fn a_step_of_tidying_is_small() {
    let folder = folder();
    let (mut store, _) = reopen(folder.path());
    store.run(create(LOG, 1)).expect("there is room");
    store.run_all((0..2000).map(|counter| append_of(LOG, 0, counter, 0)));
    // As if a trim had just been made of all of them: the writer is in here, and sweeps nothing itself.
    let counts = store.probe(|database| {
        let count = |database: &Database| -> i64 {
            let all = "SELECT count(*) FROM messages";
            database.connection.query_row(all, [], |row| row.get(0)).expect("the table is there")
        };
        let log = database.logs.get_mut(&LOG).expect("it is there");
        (log.first, log.messages) = (log.next, 0);
        let sweep = sweep::Sweep::trimmed(log.number, log.first);
        database.sweeps.push_back(sweep);
        let mut counts = vec![count(database)];
        while database.tidy().expect("the disk works") {
            counts.push(count(database));
        }
        counts
    });
    assert!(counts.windows(2).all(|pair| pair[0] - pair[1] <= 512), "{counts:?}");
    assert_eq!((counts.first(), counts.last()), (Some(&2000), Some(&0)));
}

#[test]
fn the_cap_refuses_and_takes_from_nobody() {
    let folder = folder();
    let caps = Caps { disk_bytes: 20_000, memory_bytes: 0 };
    let (mut store, _) = open(folder.path(), caps).expect("the folder is new");
    store.run(create(LOG, 1)).expect("there is room");
    store.run(create(Incarnation(2), 1)).expect("there is room");
    store.run(append(Incarnation(2), 0)).expect("there is room");
    let theirs = store.read_all(Incarnation(2)).expect("it can be read");
    let mut stored = 0;
    while store.run(append(LOG, stored)) != Err(StoreError::Full) {
        stored += 1;
    }
    assert!(stored > 5 && store.used_bytes() <= 20_000);
    assert_eq!(store.read_all(Incarnation(2)).expect("it can be read"), theirs);
    store.run(trim(LOG, 1)).expect("it is there");
    store.run(append(LOG, stored)).expect("there is room again");
}
