//! Copies made while the engine goes on.

use std::os::unix::fs::PermissionsExt;

use super::*;

/// A folder whose database is `file`.
fn restored(file: &Path) -> TempDir {
    let to = folder();
    fs::copy(file, to.path().join("sealmq.db")).expect("it can be copied");
    to
}

#[test]
fn a_backup_is_of_one_moment_and_holds_up_nobody() {
    let (folder, to) = (folder(), folder());
    let (mut store, _) = reopen(folder.path());
    store.run(create(LOG, 2)).expect("there is room");
    store.run_all((0..2000).map(|counter| append_of(LOG, counter as u32 % 3, counter, 1000)));
    let note = Note { kind: NoteKind::Client, key: vec![1], value: vec![2; 500] };
    store.run(Op::Put { note: note.clone() }).expect("there is room");
    let before = store.read_all(LOG).expect("it can be read");
    let file = to.path().join("copy.db");
    let (mut counter, mut told) = (2000, Vec::new());
    let report = backup(folder.path(), &file, &mut |done, all| {
        told.push((done, all));
        // More than what is checkpointed at a time.
        for _ in 0..3 {
            store.run(append_of(LOG, 0, counter, 900_000)).expect("commits go on");
            counter += 1;
        }
    });
    let report = report.expect("there is room");
    assert!(told.len() > 2 && told.is_sorted(), "{told:?}");
    assert_eq!(told.last().map(|(done, all)| done == all), Some(true));
    let bytes = fs::metadata(&file).expect("it is there").len();
    assert_eq!(report, BackupReport { bytes, topics: 1, messages: 2000, damaged: Vec::new() });
    assert_eq!(fs::metadata(&file).expect("it is there").permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(to.path()).expect("it is there").count(), 1, "nothing is left beside it");

    // The write-ahead log could not be emptied meanwhile, and can now.
    let wal = || fs::metadata(folder.path().join("sealmq.db-wal")).expect("it is there").len();
    assert!(wal() > 900_000 * 8, "{}", wal());
    store.probe(|database| database.checkpoint("PASSIVE")).expect("the disk works");
    store.run(append(LOG, counter)).expect("there is room");
    assert!(wal() <= 8 << 20, "{}", wal());
    assert_eq!(store.disk.failure(), None);

    let again = restored(&file);
    let (mut copied, contents) = reopen(again.path());
    assert_eq!(contents.notes, [note]);
    assert_eq!(contents.logs[0].publishers.len(), 3);
    assert_eq!(copied.read_all(LOG).expect("it can be read"), before);
    copied.run(append_of(LOG, 0, 2000, 10)).expect("it is a database as any other");
}

#[test]
fn a_reader_that_hangs_is_warned_of_each_time_the_log_has_doubled() {
    let mut growth = database::WalGrowth::default();
    let mut warned = |tenths: u64, is_done| {
        growth.watch(database::WAL_WARN_BYTES / 10 * tenths, is_done);
        growth.warned_bytes / (database::WAL_WARN_BYTES / 10)
    };
    let seen = [(5, false), (10, false), (15, false), (20, false), (39, false), (99, true), (10, false)];
    assert_eq!(seen.map(|(tenths, is_done)| warned(tenths, is_done)), [0, 10, 10, 20, 20, 0, 10]);
}

#[test]
fn a_backup_needs_no_broker() {
    let (folder, to) = (folder(), folder());
    let (mut store, _) = reopen(folder.path());
    store.run_all([create(LOG, 1), append(LOG, 0)]);
    let path = folder.path().to_owned();
    // Killed, with all of it in the write-ahead log.
    let killed = store.probe(move |_| damage::copy(&path));
    drop(store);
    for (number, source) in [folder.path(), killed.path()].into_iter().enumerate() {
        let file = to.path().join(number.to_string());
        let report = backup(source, &file, &mut |_, _| {}).expect("there is room");
        assert_eq!((report.topics, report.messages), (1, 1));
        let (mut copied, _) = reopen(restored(&file).path());
        assert_eq!(copied.read_all(LOG).expect("it can be read").len(), 2);
        reopen(source);
    }
}

#[test]
fn a_backup_overwrites_nothing_and_says_what_is_wrong() {
    let (folder, to) = (folder(), folder());
    let file = to.path().join("copy.db");
    let refused = |error: Result<BackupReport, BackupError>| error.expect_err("it is refused");
    let error = refused(backup(folder.path(), &file, &mut |_, _| {}));
    assert!(matches!(error, BackupError::NoDatabase { .. }), "{error}");
    let (mut store, _) = reopen(folder.path());
    store.run_all([create(LOG, 1), append(LOG, 0)]);
    let error = refused(backup(folder.path(), &folder.path().join("sealmq.db"), &mut |_, _| {}));
    assert!(matches!(error, BackupError::Exists { .. }), "{error}");
    let error = refused(backup(folder.path(), &to.path().join("no/copy.db"), &mut |_, _| {}));
    assert!(matches!(error, BackupError::File { .. }), "{error}");
    assert_eq!(store.read_all(LOG).expect("it can be read").len(), 2);

    store.probe(|d| d.connection.execute_batch("UPDATE messages SET counter = 9").expect("a sentence"));
    let report = backup(folder.path(), &file, &mut |_, _| {}).expect("the rest is good");
    let name = TopicName::parse(&format!("home/{LOG}")).expect("a good name");
    assert_eq!(report.damaged, [DamagedTopic { name, messages: 1 }]);
    store.probe(|d| d.connection.execute_batch("UPDATE logs SET next = 9").expect("a sentence"));
    let error = refused(backup(folder.path(), &to.path().join("other.db"), &mut |_, _| {}));
    assert!(matches!(error, BackupError::Bad(_)), "{error}");
    assert_eq!(fs::read_dir(to.path()).expect("it is there").count(), 1, "nothing is left of it");
}
