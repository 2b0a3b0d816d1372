//! Files cut off in the middle of things, flipped bytes, and databases that are none of ours.

use super::*;

/// What was on the disk at one moment, in a folder of its own.
fn copy(from: &Path) -> TempDir {
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

#[test]
fn a_write_ahead_log_cut_anywhere_leaves_a_beginning() {
    let folder = folder();
    let (mut store, _) = reopen(folder.path());
    store.run(create(LOG, 1)).expect("there is room");
    for counter in 0..20 {
        store.run(append(LOG, counter)).expect("there is room");
    }
    let path = folder.path().to_owned();
    let whole = store.probe(move |_| copy(&path));
    let entries = store.read_all(LOG).expect("it can be read");
    let length = fs::metadata(whole.path().join("sealmq.db-wal")).expect("it is there").len();
    let mut lengths = Vec::new();
    for cut in (0..=length).rev().step_by(length as usize / 40 + 7) {
        let torn = copy(whole.path());
        let wal = fs::OpenOptions::new().write(true).open(torn.path().join("sealmq.db-wal"));
        wal.and_then(|wal| wal.set_len(cut)).expect("it can be cut");
        let (mut again, contents) = reopen(torn.path());
        if contents.logs.is_empty() {
            lengths.push(0);
            continue;
        }
        let left = again.read_all(LOG).expect("it can be read");
        assert_eq!(left, entries[..left.len()], "cut at {cut}");
        lengths.push(left.len());
    }
    assert!(lengths.is_sorted_by(|a, b| a >= b), "{lengths:?}");
    assert_eq!((lengths.first(), lengths.last()), (Some(&21), Some(&0)));
}

#[test]
fn flipped_bytes_are_never_served() {
    let folder = folder();
    let (mut store, _) = reopen(folder.path());
    for log in [LOG, Incarnation(5)] {
        store.run(create(log, 3)).expect("there is room");
        let appends = (0..60).map(|c| append_of(log, c as u32 % 3, c, 20 + c as usize * 40));
        store.run_all(appends.chain([append_of(log, 0, 60, 20_000)]));
    }
    let note = Note { kind: NoteKind::Request, key: vec![1; 40], value: vec![2; 400] };
    store.run(Op::Put { note: note.clone() }).expect("there is room");
    let good = [LOG, Incarnation(5)].map(|log| store.read_all(log).expect("it can be read"));
    drop(store);
    let bytes = fs::read(folder.path().join("sealmq.db")).expect("it can be read");
    let (mut refused, mut reported, mut intact) = (0, 0, 0);
    // A prime, so that all parts of a page have their turn.
    for (flip, at) in (0..bytes.len()).step_by(211).enumerate() {
        let bad = folder_with(&bytes, at, 1 << (flip % 8));
        let Ok((mut store, contents)) = open(bad.path(), ROOMY) else {
            refused += 1;
            continue;
        };
        assert_eq!(contents.notes, std::slice::from_ref(&note), "flipped at {at}");
        assert_eq!(contents.logs.len(), 2, "flipped at {at}");
        for (log, good) in [LOG, Incarnation(5)].into_iter().zip(&good) {
            let stored = contents.logs.iter().find(|s| s.log == log).expect("both are there");
            let records: Vec<_> = good.iter().filter(|e| !e.is_message()).cloned().collect();
            assert_eq!(stored.records, records, "flipped at {at}");
            assert_eq!(stored.publishers.len(), 3, "flipped at {at}");
            match store.read_all(log) {
                Ok(entries) => {
                    assert!(entries == *good, "flipped at {at}: wrong data");
                    intact += 1;
                }
                Err(StoreError::Damaged { .. } | StoreError::Failed(_)) => reported += 1,
                Err(other) => panic!("flipped at {at}: {other}"),
            }
        }
    }
    println!("{refused} refused, {reported} reported, {intact} intact");
    assert!(refused > 0 && reported > 0 && intact > 0, "{refused} {reported} {intact}");
}

/// A database with one bit changed.
fn folder_with(bytes: &[u8], at: usize, flip: u8) -> TempDir {
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
