//! Files cut off in the middle of things, flipped bytes, and databases that are none of ours.

use super::*;

/// What was on the disk at one moment, in a folder of its own.
pub(super) fn copy(from: &Path) -> TempDir {
    let to = folder();
    for name in ["sealmq.db", "sealmq.db-wal"] {
        if from.join(name).exists() {
            fs::copy(from.join(name), to.path().join(name)).expect("it can be copied");
        }
    }
    to
}

#[test]
fn what_had_completed_is_there_whenever_the_process_ends() {
    let folder = folder();
    let (mut store, _) = reopen(folder.path());
    store.run(create(LOG, 1)).expect("there is room");
    let (mut submitted, mut answered) = (0_u64, 0_u64);
    let mut state = 0x5eed_u64;
    for round in 0..120 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        for _ in 0..(state >> 33) % 40 {
            store.submit(append(LOG, submitted));
            submitted += 1;
        }
        store.disk.flush(Now { mono: Mono(0), wall: Wall(0) });
        // However far the writer is: what has been answered by now must be in the copy.
        for _ in 0..(state >> 50) % 60 {
            match store.disk.poll() {
                Some(Completion { result: Ok(Outcome::Appended { .. }), .. }) => answered += 1,
                Some(other) => panic!("{other:?}"),
                None => break,
            }
        }
        if round % 4 > 0 {
            continue;
        }
        let path = folder.path().to_owned();
        let copied = store.probe(move |_| copy(&path));
        let (mut again, contents) = reopen(copied.path());
        let entries = again.read_all(LOG).expect("it can be read");
        let messages = entries.len() as u64 - 1;
        assert!((answered..=submitted).contains(&messages), "{answered} {messages} {submitted}");
        for (at, entry) in entries.iter().enumerate() {
            assert_eq!(entry.offset.0, at as u64);
        }
        for (counter, entry) in entries[1..].iter().enumerate() {
            let Op::Append { entry: new, .. } = append(LOG, counter as u64) else { panic!("an append") };
            assert_eq!(entry.content, new.content);
        }
        assert_eq!(contents.logs[0].next.0, entries.len() as u64);
        assert_eq!(contents.logs[0].publishers.first().map_or(0, |p| p.next.0), messages);
    }
    assert!(answered > 500, "{answered}");
}

const BOTH: [Incarnation; 2] = [LOG, Incarnation(5)];

/// A database with all kinds of rows, and what two logs have.
pub(super) fn filled() -> (TempDir, [Vec<Arc<Entry>>; 2], Note) {
    let folder = folder();
    let (mut store, _) = reopen(folder.path());
    for log in BOTH {
        store.run(create(log, 3)).expect("there is room");
        let appends = (0..60).map(|c| append_of(log, c as u32 % 3, c, 20 + c as usize * 40));
        store.run_all(appends.chain([append_of(log, 0, 60, 20_000)]));
    }
    let note = Note { kind: NoteKind::Request, key: vec![1; 40], value: vec![2; 400] };
    store.run(Op::Put { note: note.clone() }).expect("there is room");
    let good = BOTH.map(|log| store.read_all(log).expect("it can be read"));
    (folder, good, note)
}

/// Opens a database that may be damaged, reads and writes all over it, and says what came of it:
/// refused, reported or intact. Nothing wrong may be served, and the engine goes on.
fn use_damaged(path: &Path, good: &[Vec<Arc<Entry>>; 2], note: &Note, what: &str) -> [u32; 3] {
    let (mut store, contents) = match open(path, ROOMY) {
        Ok(opened) => opened,
        Err(OpenError::Damaged(_) | OpenError::NotOurs | OpenError::Newer { .. }) => return [1, 0, 0],
        Err(other) => panic!("{what}: {other:?}"),
    };
    assert_eq!(contents.notes, std::slice::from_ref(note), "{what}");
    assert_eq!(contents.logs.len(), 2, "{what}");
    let mut counts = [0, 0, 0];
    for (log, good) in BOTH.into_iter().zip(good) {
        let stored = contents.logs.iter().find(|s| s.log == log).expect("both are there");
        let records: Vec<_> = good.iter().filter(|e| !e.is_message()).cloned().collect();
        assert_eq!(stored.records, records, "{what}");
        assert_eq!((stored.publishers.len(), stored.next), (3, Offset(64)), "{what}");
        let runs: usize = stored.publishers.iter().map(|publisher| publisher.runs.len()).sum();
        assert_eq!(runs, 61, "{what}");
        let read = store.read_all(log);
        match &read {
            Ok(entries) => assert!(entries == good, "{what}: wrong data"),
            Err(StoreError::Damaged { .. }) => {}
            Err(other) => panic!("{what}: {other}"),
        }
        counts[if read.is_ok() { 2 } else { 1 }] += 1;
        let (below, bytes_max, records_only) = (Offset(u64::MAX), usize::MAX, false);
        for time in [0, 110, 131, 155, 200] {
            match store.run(Op::Find { log, what: Find::Since(Wall(time)) }) {
                Ok(Outcome::Found(at)) => {
                    let exact = good.iter().find(|e| e.is_message() && e.time >= Wall(time));
                    let exact = exact.map_or(Offset(64), |entry| entry.offset);
                    // Earlier is right only for the sake of a row that cannot be read.
                    let mut again = || store.run(Op::Read { log, from: at, below, bytes_max, records_only });
                    assert!(at == exact || at < exact && again().is_err(), "{what}: {at} for {exact}");
                }
                Err(StoreError::Damaged { .. }) => {}
                other => panic!("{what}: {other:?}"),
            }
        }
        for op in [append_of(log, 1, 61, 3000), append_of(log, 0, 61, 10), trim(log, 20), trim(log, 2)] {
            match store.run(op) {
                Ok(_) | Err(StoreError::Damaged { .. }) => {}
                other => panic!("{what}: {other:?}"),
            }
        }
        for entry in store.read_all(log).unwrap_or_default().iter().filter(|e| e.offset < Offset(64)) {
            assert!(*entry == good[entry.offset.0 as usize], "{what}: wrong data");
        }
    }
    assert_eq!(store.disk.failure(), None, "{what}");
    counts
}

#[test]
fn flipped_bytes_are_never_served() {
    let (folder, good, note) = filled();
    let bytes = fs::read(folder.path().join("sealmq.db")).expect("it can be read");
    let mut sums = [0; 3];
    // A prime, so that all parts of a page have their turn.
    for (flip, at) in (0..bytes.len()).step_by(997).enumerate() {
        let bad = folder_with(&bytes, at, 1 << (flip % 8));
        let counts = use_damaged(bad.path(), &good, &note, &format!("flipped at {at}"));
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    assert!(sums.iter().all(|sum| *sum > 0), "refused, reported, intact: {sums:?}");
}

#[test]
fn a_broken_header_of_a_page_hides_no_row() {
    let (folder, good, note) = filled();
    let bytes = fs::read(folder.path().join("sealmq.db")).expect("it can be read");
    let mut sums = [0; 3];
    // Kind, first free block, number of rows, and the first of their places.
    for page in (4096..bytes.len()).step_by(4096) {
        for (at, flip) in [(0, 2), (2, 1), (4, 1), (4, 2), (6, 1), (9, 4), (11, 1)] {
            let bad = folder_with(&bytes, page + at, flip);
            let counts = use_damaged(bad.path(), &good, &note, &format!("page at {page}, byte {at}"));
            sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
    }
    assert!(sums.iter().all(|sum| *sum > 0), "refused, reported, intact: {sums:?}");
}

#[test]
fn a_database_that_was_cut_off_is_refused_or_right() {
    let (folder, good, note) = filled();
    let bytes = fs::read(folder.path().join("sealmq.db")).expect("it can be read");
    let mut refused = 0;
    for cut in (1..bytes.len()).step_by(4096 / 3 + 700) {
        let bad = super::folder();
        fs::write(bad.path().join("sealmq.db"), &bytes[..cut]).expect("it can be written");
        refused += use_damaged(bad.path(), &good, &note, &format!("cut at {cut}"))[0];
    }
    assert!(refused > 10, "{refused}");
    fs::write(folder.path().join("sealmq.db"), []).expect("it can be written");
    assert_eq!(use_damaged(folder.path(), &good, &note, "emptied")[0], 1);
}

/// A database with one bit changed.
pub(super) fn folder_with(bytes: &[u8], at: usize, flip: u8) -> TempDir {
    let to = folder();
    let mut bytes = bytes.to_vec();
    bytes[at] ^= flip;
    fs::write(to.path().join("sealmq.db"), bytes).expect("it can be written");
    to
}

#[test]
fn one_bad_row_spoils_no_other() {
    let folder = folder();
    let (mut store, _) = reopen(folder.path());
    store.run(create(LOG, 1)).expect("there is room");
    store.run_all((0..9).map(|counter| append(LOG, counter)));
    let good = store.read_all(LOG).expect("it can be read");
    let changes = [
        "UPDATE messages SET body = zeroblob(length(body)) WHERE place & 0xff = 4",
        "DELETE FROM messages WHERE place & 0xff = 4",
        "UPDATE messages SET time = 'x' WHERE place & 0xff = 4",
        // The row of another place.
        "INSERT OR REPLACE INTO messages SELECT place - 1, time, sender, epoch, counter, sha256, checksum, \
         body FROM messages WHERE place & 0xff = 5",
    ];
    let read = |from, below| Op::Read {
        log: LOG,
        from: Offset(from),
        below: Offset(below),
        bytes_max: usize::MAX,
        records_only: false,
    };
    for change in changes {
        store.probe(move |database| {
            database.connection.execute_batch("SAVEPOINT before").expect("a sentence");
            database.connection.execute_batch(change).expect("a good sentence");
        });
        let front = store.run(read(0, 99));
        assert_eq!(front, Ok(Outcome::Entries { entries: good[..4].to_vec(), next: Offset(4) }), "{change}");
        assert_eq!(store.run(read(4, 99)), Err(StoreError::Damaged { offset: Offset(4) }), "{change}");
        let behind = store.run(read(5, 99));
        assert_eq!(behind, Ok(Outcome::Entries { entries: good[5..].to_vec(), next: Offset(10) }));
        store.probe(|database| {
            database.connection.execute_batch("ROLLBACK TO before; RELEASE before").expect("a sentence");
        });
    }
    assert_eq!(store.read_all(LOG).expect("all is undone"), good);
}

#[test]
fn databases_of_others_and_of_the_future_are_refused_with_a_sentence() {
    let spoil = |sentence: &'static str| {
        let folder = folder();
        let (mut store, _) = reopen(folder.path());
        store.probe(move |d| d.connection.execute_batch(sentence)).expect("a good sentence");
        drop(store);
        open(folder.path(), ROOMY).err().expect("it is refused").to_string()
    };
    assert_eq!(
        spoil("PRAGMA user_version = 2"),
        "the database is of version 2, and this program knows versions up to 1: it was written by a newer one"
    );
    assert_eq!(spoil("PRAGMA application_id = 7"), "the database was made by another program");
    assert_eq!(
        spoil("DROP TABLE notes"),
        "the database is damaged: the tables are not those of this version"
    );
    let folder = folder();
    fs::write(folder.path().join("sealmq.db"), [b'x'; 5000]).expect("it can be written");
    let refused = open(folder.path(), ROOMY).err().expect("it is no database");
    assert!(matches!(refused, OpenError::Damaged(_)), "{refused:?}");
}

#[test]
fn a_damaged_count_of_a_publisher_stops_only_its_topic() {
    let folder = folder();
    let (mut store, _) = reopen(folder.path());
    store.run_all([create(LOG, 1), append(LOG, 0), create(Incarnation(5), 1), append(Incarnation(5), 0)]);
    store.probe(|database| {
        let spoil = "UPDATE publishers SET next = next + 1 WHERE place >> 43 = 0";
        assert_eq!(database.connection.execute(spoil, []).expect("a good sentence"), 1);
    });
    let results = store.run_together([
        append(LOG, 1),
        append(Incarnation(5), 1),
        append(LOG, 2),
        trim(LOG, 1),
        Op::Configure { log: LOG, retain: Retain { messages: 1, bytes: 1, age_ms: 1 } },
    ]);
    let damaged = || Err(StoreError::Damaged { offset: Offset(2) });
    assert_eq!(results[0], damaged());
    assert!(matches!(&results[1], Ok(Outcome::Appended { entry }) if entry.offset == Offset(2)));
    assert_eq!(results[2..], [Err(StoreError::EarlierFailed), damaged(), damaged()]);
    assert_eq!(store.run(append(LOG, 1)), damaged(), "it was seen, and is as it was");
    assert_eq!(store.disk.failure(), None);
    assert_eq!(store.read_all(LOG).expect("it can be read").len(), 2);
    let Ok(Outcome::Removed { .. }) = store.run(Op::Remove { log: LOG }) else { panic!("it may go") };
    store.run(create(LOG, 1)).expect("there is room");
    store.run(append(LOG, 0)).expect("it is another log");
}

#[test]
fn a_search_by_time_trusts_no_bad_row() {
    let folder = folder();
    let (mut store, _) = reopen(folder.path());
    store.run(create(LOG, 1)).expect("there is room");
    store.run_all((0..100).map(|counter| append(LOG, counter)));
    // The first that a search looks at.
    store.probe(|database| {
        let spoil = "UPDATE messages SET time = 0 WHERE place & 0xff = 51";
        assert_eq!(database.connection.execute(spoil, []).expect("a good sentence"), 1);
    });
    let mut since = |time| store.run(Op::Find { log: LOG, what: Find::Since(Wall(time)) });
    assert_eq!(since(110), Ok(Outcome::Found(Offset(11))));
    assert_eq!(since(190), Ok(Outcome::Found(Offset(91))));
    assert_eq!(since(151), Ok(Outcome::Found(Offset(51))), "the bad one may be meant");
    // Nor does a trim.
    let kept = store.run(Op::Trim { log: LOG, keep: Keep { since: Wall(145), ..Keep::default() } });
    assert!(matches!(kept, Ok(Outcome::Trimmed { kept, .. }) if kept.messages == 55), "{kept:?}");
    let kept = store.run(Op::Trim { log: LOG, keep: Keep { since: Wall(160), ..Keep::default() } });
    assert!(matches!(kept, Ok(Outcome::Trimmed { kept, .. }) if kept.messages == 40), "{kept:?}");
    assert_eq!(store.read_all(LOG).expect("the bad one is gone").len(), 41);
}
