//! A disk that is full, and one that fails.

use super::*;

/// Lets the file grow by so many pages only; SQLite then says what it says on a full disk.
fn limit(store: &mut Waiting, more: i64) {
    store.probe(move |database| {
        let pages = schema::number(&database.connection, "page_count").expect("a number");
        let most = (pages + more).to_string();
        schema::pragma(&database.connection, "max_page_count", &most).expect("a good limit");
    });
}

#[test]
fn a_full_disk_refuses_whole_transactions_and_recovers() {
    let folder = folder();
    let (mut store, _) = reopen(folder.path());
    store.run(create(LOG, 1)).expect("there is room");
    store.run_all((0..10).map(|counter| append(LOG, counter)));
    let good = store.read_all(LOG).expect("it can be read");
    let used = store.used_bytes();
    limit(&mut store, 4);
    let ops = [append(LOG, 10), append_of(LOG, 0, 11, 100_000), append(LOG, 12), create(Incarnation(9), 1)];
    // One transaction, whatever the writer's speed: the queue is filled while it looks away.
    let results = store.run_together(ops);
    assert_eq!(results[0], Err(StoreError::Full));
    assert_eq!(results[1..3], [Err(StoreError::EarlierFailed), Err(StoreError::EarlierFailed)]);
    assert_eq!(results[3], Err(StoreError::Full), "nothing half done");
    assert_eq!(store.used_bytes(), used);
    assert_eq!(store.read_all(LOG).expect("readers go on"), good);
    assert_eq!(store.disk.failure(), None);

    // What makes room goes, though it stood among what did not.
    let ops = [append_of(LOG, 0, 10, 100_000), trim(LOG, 3), append(LOG, 11)];
    let results = store.run_together(ops);
    assert_eq!(results[0], Err(StoreError::Full));
    assert!(matches!(results[1], Ok(Outcome::Trimmed { kept, .. }) if kept.messages == 3), "{results:?}");
    assert_eq!(results[2], Err(StoreError::EarlierFailed));

    limit(&mut store, 1000);
    let Ok(Outcome::Appended { entry }) = store.run(append(LOG, 10)) else { panic!("there is room again") };
    assert_eq!(entry.offset, Offset(11), "no hole");
    let all = store.read_all(LOG).expect("it can be read");
    drop(store);
    let (mut store, contents) = reopen(folder.path());
    assert_eq!(contents.logs.len(), 1);
    assert_eq!(contents.logs[0].publishers[0].next, Counter(11));
    assert_eq!(store.read_all(LOG).expect("it can be read"), all);
}

#[test]
fn what_an_attempt_refused_that_was_not_made_is_tried_again() {
    let folder = folder();
    let (mut store, _) = reopen(folder.path());
    store.run(create(LOG, 1)).expect("there is room");
    let next = Ticket(store.disk.volatiles.next_ticket);
    // A lock of another process came between the refusal and its commit.
    store.probe(move |database| database.logs.get_mut(&LOG).expect("it is there").refused = Some(next));
    let results = store.run_all((0..3).map(|counter| append(LOG, counter)));
    assert!(results.iter().all(Result::is_ok), "{results:?}");
}

#[test]
fn after_a_failed_sync_nothing_is_stored_any_more() {
    let folder = folder();
    let (mut store, _) = reopen(folder.path());
    store.run(create(LOG, 1)).expect("there is room");
    store.run(append(LOG, 0)).expect("there is room");
    let good = store.read_all(LOG).expect("it can be read");
    store.probe(|database| database.fail_commit = true);
    let failed = store.run_all([append(LOG, 1), append(LOG, 2)]);
    assert!(failed.iter().all(|result| matches!(result, Err(StoreError::Failed(_)))), "{failed:?}");
    let why = store.disk.failure().expect("it is told").to_owned();
    assert!(why.contains("I/O error"), "{why}");
    // The disk works again, and is not trusted.
    store.probe(|database| database.fail_commit = false);
    let commits = store.probe(|database| database.commits);
    for op in [append(LOG, 1), trim(LOG, 1), create(Incarnation(2), 1), Op::Remove { log: LOG }] {
        assert!(matches!(store.run(op), Err(StoreError::Failed(_))));
    }
    assert!(store.read_all(LOG).is_err());
    assert_eq!(store.probe(|database| database.commits), commits);
    drop(store);
    let (mut store, _) = reopen(folder.path());
    assert_eq!(store.read_all(LOG).expect("it can be read"), good, "what was answered is there");
    assert_eq!(store.disk.failure(), None);
}

#[test]
fn after_a_failed_checkpoint_nothing_is_stored_any_more() {
    let folder = folder();
    let (mut store, _) = reopen(folder.path());
    store.run(create(LOG, 1)).expect("there is room");
    store.probe(|database| database.fail_checkpoint = true);
    let mut stored = Vec::new();
    for counter in 0.. {
        match store.run(append_of(LOG, 0, counter, 500_000)) {
            Ok(Outcome::Appended { entry }) => stored.push(entry),
            Err(StoreError::Failed(_)) => break,
            other => panic!("{other:?}"),
        }
        assert!(counter < 20, "a checkpoint is due after 4 MiB");
    }
    assert!(store.disk.failure().expect("it is told").contains("I/O error"));
    drop(store);
    let (mut store, _) = reopen(folder.path());
    let left = store.read_all(LOG).expect("it can be read");
    assert!(left.len() > stored.len() && left[1..=stored.len()] == stored[..], "what was answered is there");
}

#[test]
fn room_that_a_full_disk_refused_is_there_when_it_has_some() {
    let folder = folder();
    let (mut store, _) = reopen(folder.path());
    store.run(create(LOG, 1)).expect("there is room");
    limit(&mut store, 40);
    let mut stored = 0;
    while store.run(append_of(LOG, 0, stored, 10_000)) != Err(StoreError::Full) {
        stored += 1;
    }
    assert!(stored > 5, "{stored}");
    let note = Note { kind: NoteKind::Client, key: vec![1], value: vec![2; 50_000] };
    assert_eq!(store.run(Op::Put { note: note.clone() }), Err(StoreError::Full));
    assert_eq!(store.run(create(Incarnation(3), 200)), Err(StoreError::Full));
    assert_eq!(store.read_all(LOG).expect("readers go on").len() as u64, 1 + stored);
    limit(&mut store, 400);
    store.run(append_of(LOG, 0, stored, 10_000)).expect("there is room");
    store.run(Op::Put { note }).expect("there is room");
    assert_eq!(store.disk.failure(), None);
    drop(store);
    let (mut store, contents) = reopen(folder.path());
    assert_eq!((contents.logs.len(), contents.notes.len()), (1, 1));
    assert_eq!(store.read_all(LOG).expect("it can be read").len() as u64, 2 + stored);
}
