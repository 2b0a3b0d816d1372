//! The data folder: what outlives a broker, who may have it, and what is said when it is not as it
//! should be.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::process::Signal;
use sealmq::base::ids::Offset;
use sealmq::wire::values::{Durability, Start};

use crate::caller::{Caller, topic};
use crate::support::{Daemon, Home, eventually, read};

/// Where SQLite's file format (1.3) has the version that an application gives it, and its id.
const VERSION_AT: u64 = 60;
const APPLICATION_AT: u64 = 68;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).permissions().mode() & 0o777
}

fn end(daemon: &mut Daemon) {
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait().code(), Some(0), "{}", read(&daemon.log));
}

/// A home where alice and bob are known.
fn home() -> Home {
    let home = Home::new();
    home.write_certificate("bob", &home.world.client("bob").1);
    home
}

/// One that has been served: a topic "a" with these messages.
fn served(messages: &[&[u8]]) -> Home {
    let home = home();
    let mut daemon = home.start();
    let mut alice = Caller::new(&home, &daemon, "alice");
    alice.create(&topic("a"), &["bob"]);
    for message in messages {
        alice.publish(&topic("a"), message);
    }
    drop(alice);
    end(&mut daemon);
    home
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A start or another command ends with this code and says all of these.
fn assert_ends(output: &Output, code: i32, expected: &[&str]) {
    let said = said(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for text in expected {
        assert!(said.contains(text), "{text:?} is not in {said}");
    }
}

fn poke(path: &Path, at: u64, bytes: &[u8]) {
    let file = fs::OpenOptions::new().write(true).open(path).expect("a file");
    file.write_all_at(bytes, at).expect("it is written");
}

#[test]
fn a_restart_keeps_topics_messages_and_places() {
    let home = served(&[b"one", b"two", b"three"]);
    let database = home.path("data/sealmq.db");
    let left = fs::metadata(home.path("data/sealmq.db-wal")).map_or(0, |wal| wal.len());
    assert_eq!(left, 0, "a broker that has ended well leaves one file");
    assert_eq!((mode(&home.path("data")), mode(&database)), (0o700, 0o600));

    let mut daemon = home.start();
    daemon.expect_log("topics: 1, messages: 3, ", 1);
    let mut bob = Caller::new(&home, &daemon, "bob");
    let all = bob.read(&topic("a"), Start::Earliest, 3);
    let contents: Vec<&[u8]> = all.iter().map(|(_, content)| content.as_slice()).collect();
    assert_eq!(contents, [b"one".as_slice(), b"two", b"three"]);
    let last = all[2].0;

    // Who goes on behind the second message gets the third, and what comes after the restart.
    let mut again = Caller::new(&home, &daemon, "bob");
    let rest = again.read(&topic("a"), Start::Offset(last), 1);
    assert_eq!(rest, [(last, b"three".to_vec())]);
    let mut alice = Caller::new(&home, &daemon, "alice");
    let next = alice.publish(&topic("a"), b"four");
    assert!(next > last, "offsets go on: {next:?} after {last:?}");
    again.until("the new one", |bob| (!bob.messages.is_empty()).then_some(())).expect("a session");
    assert_eq!(again.messages[0].content, b"four");
    drop((alice, bob, again));
    end(&mut daemon);
}

#[test]
fn what_was_answered_outlives_a_kill() {
    let home = home();
    let mut daemon = home.start();
    let mut alice = Caller::new(&home, &daemon, "alice");
    alice.create(&topic("a"), &["bob"]);
    let stored: Vec<Offset> = (0..20).map(|n: u32| alice.publish(&topic("a"), &n.to_be_bytes())).collect();
    daemon.signal(Signal::KILL);
    assert_eq!(daemon.wait().code(), None);

    let daemon = home.start();
    daemon.expect_log("did not end in good order", 1);
    let mut bob = Caller::new(&home, &daemon, "bob");
    let read = bob.read(&topic("a"), Start::Earliest, stored.len());
    let expected: Vec<(Offset, Vec<u8>)> =
        (0..20_u32).map(|n| (stored[n as usize], n.to_be_bytes().to_vec())).collect();
    assert_eq!(read, expected);
}

#[test]
fn a_second_broker_on_the_same_folder_is_refused() {
    let home = Home::new();
    let daemon = home.start();
    let pid = daemon.pid().as_raw_nonzero().to_string();
    let output = home.output(&["--listen", "127.0.0.1:0"]);
    let data = home.path("data").display().to_string();
    assert_ends(&output, 1, &["another sealmqd", &data, "--data DIR"]);
    if cfg!(target_os = "linux") {
        assert_ends(&output, 1, &[&format!("(process {pid})"), &format!("kill {pid}")]);
        assert_ends(&home.output(&["--check"]), 0, &[&format!("in use by process {pid}")]);
    }
    let elsewhere = home.path("elsewhere");
    let other = home.start_with(&["--listen", "127.0.0.1:0", "--data", elsewhere.to_str().expect("plain")]);
    assert!(daemon.answers() && other.answers());
    assert!(elsewhere.join("sealmq.db").exists() && elsewhere.join("crl-number").exists());
}

#[test]
fn memory_leaves_no_database() {
    let home = home();
    let mut daemon = home.start_with(&["--listen", "127.0.0.1:0", "--memory"]);
    let mut alice = Caller::new(&home, &daemon, "alice");
    alice.create_in(&topic("a"), &[], Durability::Memory);
    alice.publish(&topic("a"), b"gone soon");
    drop(alice);
    end(&mut daemon);
    daemon.expect_log("topics are kept in RAM only", 1);
    let left: Vec<PathBuf> = home.snapshot().into_iter().map(|(path, _)| path).collect();
    assert!(left.iter().any(|path| path.ends_with("data/crl-number")), "{left:?}");
    assert!(!left.iter().any(|path| path.to_string_lossy().contains("sealmq.db")), "{left:?}");
    assert_ends(&home.output(&["--memory", "--data", "x"]), 2, &["--memory", "--data"]);

    // The same by the configuration, unless a folder is asked for.
    let file = home.path("sealmqd.toml");
    fs::write(&file, "persistence = false\n").expect("written");
    let file = file.to_str().expect("plain");
    assert_ends(&home.output(&["-c", file, "--check"]), 0, &["RAM only"]);
    let data = home.path("named");
    let output = home.output(&["-c", file, "--check", "--data", data.to_str().expect("plain")]);
    assert_ends(&output, 0, &["named, which is not there yet"]);
}

#[test]
fn permissions_are_tightened() {
    let home = served(&[]);
    for (path, mode) in [("data", 0o755), ("data/sealmq.db", 0o644)] {
        fs::set_permissions(home.path(path), fs::Permissions::from_mode(mode)).expect("our own");
    }
    assert_ends(&home.output(&["--check"]), 0, &["mode 755"]);
    let daemon = home.start();
    assert_eq!(mode(&home.path("data")), 0o700);
    assert_eq!(mode(&home.path("data/sealmq.db")), 0o600);
    drop(daemon);
}

#[test]
fn a_database_of_another_version_or_program_is_refused_and_left_as_it_is() {
    let home = served(&[b"one"]);
    let database = home.path("data/sealmq.db");
    poke(&database, VERSION_AT, &99_i32.to_be_bytes());
    let before = fs::read(&database).expect("a file");
    for args in [&["--listen", "127.0.0.1:0"][..], &["--check"]] {
        assert_ends(&home.output(args), 1, &["version 99", "sealmqd --version", "--data DIR"]);
    }
    assert!(fs::read(&database).expect("a file") == before, "it was changed");

    poke(&database, VERSION_AT, &1_i32.to_be_bytes());
    poke(&database, APPLICATION_AT, &7_i32.to_be_bytes());
    for args in [&["--listen", "127.0.0.1:0"][..], &["--check"]] {
        assert_ends(&home.output(args), 1, &["another program", "--data DIR"]);
    }
}

#[test]
fn a_data_folder_that_is_none_is_named() {
    let home = Home::new();
    fs::write(home.path("data"), "a file").expect("written");
    let data = home.path("data").display().to_string();
    for args in [&["--listen", "127.0.0.1:0"][..], &["--check"]] {
        assert_ends(&home.output(args), 1, &[&data, "--data DIR"]);
    }
}

#[test]
fn a_backup_is_made_while_the_broker_runs_and_can_be_served() {
    let home = home();
    let mut daemon = home.start();
    let mut alice = Caller::new(&home, &daemon, "alice");
    alice.create(&topic("a"), &["bob"]);
    let mut stored: Vec<Offset> = (0..50).map(|_| alice.publish(&topic("a"), &[7; 2000])).collect();
    let file = home.path("copy.db");
    let file_name = file.to_str().expect("plain");
    let before = stored.len();
    let mut backup =
        home.command().args(["backup", file_name]).stdout(Stdio::null()).spawn().expect("it starts");
    // Publishes go on until the copy is made, and are answered.
    let status = loop {
        stored.push(alice.publish(&topic("a"), &[8; 2000]));
        if let Some(status) = backup.try_wait().expect("our child") {
            break status;
        }
    };
    assert_eq!(status.code(), Some(0));
    assert_eq!(mode(&file), 0o600);
    assert_ends(&home.output(&["backup", file_name]), 1, &["exists", "--force"]);
    fs::write(&file, "something old").expect("written");
    assert_ends(&home.output(&["backup", "--force", file_name]), 0, &["1 topics", "--data NEW"]);
    drop(alice);
    end(&mut daemon);

    let folder = home.path("restored");
    fs::create_dir(&folder).expect("made");
    fs::copy(&file, folder.join("sealmq.db")).expect("copied");
    let daemon = home.start_with(&["--listen", "127.0.0.1:0", "--data", folder.to_str().expect("plain")]);
    let mut bob = Caller::new(&home, &daemon, "bob");
    let read = bob.read(&topic("a"), Start::Earliest, stored.len());
    assert!(stored.len() > before, "publishes were answered meanwhile");
    assert_eq!(read.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), stored);

    assert_ends(&home.output(&["backup", "--memory", "x"]), 2, &["--memory"]);
    let nothing = home.path("nothing");
    let args = ["backup", "--data", nothing.to_str().expect("plain"), "x"];
    assert_ends(&home.output(&args), 1, &["nothing/sealmq.db", "--data DIR"]);
}

/// A file that may not grow: the write fails as it would on a disk that is broken.
#[test]
fn a_disk_that_fails_ends_the_broker_with_its_own_code() {
    let home = home();
    let log = home.path("broker.log");
    let sealmqd = home.command();
    let mut limited = Command::new("sh");
    // In blocks of 512 or 1,024 bytes.
    limited.args(["-c", "ulimit -f 800; exec \"$@\"", "sh"]);
    limited.arg(sealmqd.get_program()).args(sealmqd.get_args());
    limited.args(["--listen", "127.0.0.1:0", "--log-file"]).arg(&log);
    let mut daemon = Daemon::spawn(limited, log.clone());
    let mut alice = Caller::new(&home, &daemon, "alice");
    alice.create(&topic("a"), &["bob"]);
    let mut answered = Vec::new();
    while let Some(result) = alice.try_publish(&topic("a"), &[7; 4000]) {
        answered.push(result.expect("no answer is given to what was not stored"));
        assert!(answered.len() < 1000, "the limit is never reached");
    }
    assert_eq!(daemon.wait().code(), Some(74));
    let said = read(&log);
    let errors: Vec<&str> = said.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(errors.len(), 1, "{said}");
    assert!(errors[0].contains("has failed") && errors[0].contains("nothing answered is lost"), "{said}");
    assert!(!answered.is_empty(), "it worked before");

    let daemon = home.start();
    let mut bob = Caller::new(&home, &daemon, "bob");
    let read = bob.read(&topic("a"), Start::Earliest, answered.len());
    let offsets: Vec<Offset> = read.iter().map(|(offset, _)| *offset).collect();
    assert!(offsets.starts_with(&answered), "{offsets:?} for {answered:?}");
}

/// A small disk of its own, where the system lets us mount one.
#[test]
fn a_full_disk_refuses_until_there_is_room() {
    let can_mount = Command::new("unshare").args(["-Urm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).output();
    if !can_mount.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: this system lets us mount nothing");
        return;
    }
    let home = home();
    let log = home.path("broker.log");
    let data = home.path("data");
    fs::create_dir(&data).expect("made");
    let sealmqd = home.command();
    let mut small = Command::new("unshare");
    let script = "data=$1; shift; mount -t tmpfs -o size=3m,mode=700 tmpfs $data && \
                  head -c 1500000 /dev/zero > $data/ballast && exec \"$@\"";
    small.args(["-Urm", "sh", "-c", script, "sh"]).arg(&data);
    small.arg(sealmqd.get_program()).args(sealmqd.get_args());
    small.args(["--listen", "127.0.0.1:0", "--log-file"]).arg(&log);
    let mut daemon = Daemon::spawn(small, log);
    let mut alice = Caller::new(&home, &daemon, "alice");
    alice.create(&topic("a"), &["bob"]);
    let mut stored = Vec::new();
    let refused = loop {
        match alice.try_publish(&topic("a"), &[7; 20_000]).expect("the broker goes on") {
            Ok(offset) => stored.push(offset),
            Err(failure) => break failure,
        }
        assert!(stored.len() < 1000, "the disk is never full");
    };
    assert!(refused.to_string().contains("storage full"), "{refused}");
    assert!(!stored.is_empty());

    // Readers go on, and so does the publisher when there is room.
    let mut bob = Caller::new(&home, &daemon, "bob");
    assert_eq!(bob.read(&topic("a"), Start::Earliest, stored.len()).len(), stored.len());
    let pid = daemon.pid().as_raw_nonzero();
    let ballast = format!("/proc/{pid}/root{}", data.join("ballast").display());
    fs::remove_file(ballast).expect("the ballast is there");
    let mut taken = None;
    eventually("it is taken again", || {
        taken = alice.try_publish(&topic("a"), b"now").expect("the broker goes on").ok();
        taken.is_some()
    });
    assert!(taken > stored.last().copied());
    drop((alice, bob));
    end(&mut daemon);
}

/// The arguments of the commands that an error names, without the program.
fn commands(output: &Output) -> Vec<Vec<String>> {
    let said = said(output);
    let lines = said.lines().filter_map(|line| line.trim().strip_prefix("sealmqd "));
    lines.map(|rest| rest.split_whitespace().map(str::to_owned).collect()).collect()
}

#[test]
fn a_damaged_database_is_refused_and_the_commands_named_save_what_is_good() {
    let home = served(&[b"one", b"two", b"three"]);
    let database = home.path("data/sealmq.db");
    poke(&database, 0, &[0; 100]);
    assert_ends(&home.output(&["--check"]), 7, &["damaged", "sealmqd salvage"]);
    let refused = home.output(&["--listen", "127.0.0.1:0"]);
    assert_ends(&refused, 7, &["damaged"]);
    let named = commands(&refused);
    let [salvage, start] = named.as_slice() else { panic!("two commands: {}", said(&refused)) };
    let before = fs::read(&database).expect("a file");
    let salvaged = Command::new(env!("CARGO_BIN_EXE_sealmqd")).args(salvage).output().expect("it starts");
    assert_ends(&salvaged, 0, &["a: 3 messages copied", "nothing was lost", &start.join(" ")]);
    assert!(fs::read(&database).expect("a file") == before, "the old one is only read");

    let args: Vec<&str> =
        ["--listen", "127.0.0.1:0"].into_iter().chain(start.iter().map(String::as_str)).collect();
    let daemon = home.start_with(&args);
    assert!(Path::new(&start[1]).join("crl-number").exists(), "older revocation lists are refused as before");
    let mut bob = Caller::new(&home, &daemon, "bob");
    let read = bob.read(&topic("a"), Start::Earliest, 3);
    assert_eq!(read[2].1, b"three");
    let again = Command::new(env!("CARGO_BIN_EXE_sealmqd")).args(salvage).output().expect("it starts");
    assert_ends(&again, 1, &["has files in it already"]);
}

#[test]
fn what_salvage_loses_is_listed_with_its_offset() {
    let home = served(&[b"one", b"two", b"three"]);
    let connection = rusqlite::Connection::open(home.path("data/sealmq.db")).expect("a database");
    let place: i64 = connection
        .query_row("SELECT place FROM messages ORDER BY place LIMIT 1 OFFSET 1", [], |row| row.get(0))
        .expect("three messages");
    connection
        .execute("UPDATE messages SET body = zeroblob(length(body)) WHERE place = ?", [place])
        .expect("done");
    connection.close().expect("closed");
    let (old, new) = (home.path("data"), home.path("new"));
    let salvage = |extra: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sealmqd"));
        command.arg("salvage").args(extra).arg(&old).arg(&new).output().expect("it starts")
    };
    let output = salvage(&[]);
    assert_ends(&output, 7, &["a: 2 messages copied", "LOST 1 messages: offsets 3\n", "--data"]);
    fs::remove_dir_all(&new).expect("ours");
    let output = salvage(&["--json"]);
    assert_eq!(output.status.code(), Some(7));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    assert_eq!(report["topics"][0]["lost"][0]["from"], 3);

    // A broker that serves the folder is not disturbed.
    let daemon = home.start();
    fs::remove_dir_all(&new).expect("ours");
    assert_ends(&salvage(&[]), 1, &["another sealmqd"]);
    assert!(daemon.answers() && !new.exists());
    assert_ends(&home.output(&["salvage", "x"]), 2, &["<NEW>"]);
}
