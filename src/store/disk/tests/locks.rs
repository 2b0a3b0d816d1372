//! Who else may look in, and what another process's lock does.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::*;

#[test]
fn nobody_else_may_look_in_and_no_second_process_may_write() {
    let folder = folder();
    let path = folder.path().join("data");
    fs::create_dir(&path).expect("the folder is ours");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("the folder is ours");
    fs::write(path.join("sealmq.db"), []).expect("the folder is ours");
    let (mut store, _) = reopen(&path);
    store.run(create(LOG, 1)).expect("there is room");
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    let mut files = 0;
    for file in fs::read_dir(&path).expect("it can be read") {
        let file = file.expect("it can be read").path();
        assert_eq!(mode(&file), 0o600, "{}", file.display());
        files += 1;
    }
    assert_eq!(files, 4, "the database, its write-ahead log and the index of that, the lock");
    let refused = open(&path, ROOMY).err().expect("it is locked");
    assert!(refused.to_string().ends_with("another process has it open"), "{refused}");
    drop(store);
    reopen(&path);
}

/// Run by the test below in a process of its own; it does nothing in any other.
#[test]
fn a_second_process() {
    let Some(path) = std::env::var_os(FOLDER) else { return };
    let refused = open(Path::new(&path), ROOMY).err().expect("the first one has it");
    assert!(matches!(refused, OpenError::Locked { .. }), "{refused:?}");
    println!("{REFUSED}");
}

#[test]
fn a_second_process_finds_it_locked() {
    let folder = folder();
    let (store, _) = reopen(folder.path());
    let program = std::env::current_exe().expect("the program is there");
    let run = || {
        let mut command = Command::new(&program);
        command.args(["--exact", "--nocapture", "store::disk::tests::locks::a_second_process"]);
        command.env(FOLDER, folder.path()).output().expect("it can be run")
    };
    let told = run();
    assert!(told.status.success(), "{told:?}");
    assert!(String::from_utf8_lossy(&told.stdout).contains(REFUSED), "{told:?}");
    drop(store);
    assert!(!run().status.success(), "it is not locked any more");
}

const FOLDER: &str = "SEALMQ_TEST_LOCKED_FOLDER";
const REFUSED: &str = "refused as it should be";

/// An engine with an entry that soon gives a lock up, which another process has.
fn locked_by_another(folder: &Path) -> (Waiting, rusqlite::Connection) {
    let (mut store, _) = reopen(folder);
    store.run_all([create(LOG, 1), append(LOG, 0)]);
    store.probe(|database| database.connection.busy_timeout(Duration::from_millis(1)).expect("a good time"));
    let other = rusqlite::Connection::open(folder.join("sealmq.db")).expect("it is there");
    other.execute_batch("BEGIN IMMEDIATE").expect("nobody writes just now");
    (store, other)
}

#[test]
fn a_lock_of_another_process_is_no_failure() {
    let folder = folder();
    let (mut store, other) = locked_by_another(folder.path());
    let waiting = store.submit(append(LOG, 1));
    let read = Op::Read { log: LOG, from: Offset(0), below: Offset(9), bytes_max: 9, records_only: false };
    let reading = store.submit(read);
    store.flush(Now { mono: Mono(0), wall: Wall(0) });
    let done = store.poll().expect("it was woken");
    assert_eq!(done.ticket, reading, "reads go on");
    assert!(store.disk.wants_io() && store.disk.failure().is_none());
    other.execute_batch("ROLLBACK").expect("it has begun");
    drop(other);
    store.flush(Now { mono: Mono(0), wall: Wall(0) });
    let done = store.poll().expect("it was woken");
    assert!(done.ticket == waiting && done.result.is_ok(), "{done:?}");
}

#[test]
fn an_end_does_not_wait_for_a_lock_forever() {
    let folder = folder();
    let (mut store, other) = locked_by_another(folder.path());
    store.submit(append(LOG, 1));
    store.disk.flush(Now { mono: Mono(0), wall: Wall(0) });
    drop(store);
    drop(other);
    let (mut store, _) = reopen(folder.path());
    assert_eq!(store.read_all(LOG).expect("it can be read").len(), 2, "it was not answered");
}
