//! `pub --spool`: a broker that is away, a publisher that is killed between any two steps, and what it tells.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::support::{Running, Town};

/// What lies between a client and the broker, and can swallow what either says.
struct Line {
    port: u16,
    deaf_broker: Arc<AtomicBool>,
    deaf_client: Arc<AtomicBool>,
}

impl Line {
    fn to(broker: u16) -> Line {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (deaf_broker, deaf_client) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let (up, down) = (deaf_broker.clone(), deaf_client.clone());
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", broker)) else { continue };
                let ends = (client.try_clone().expect("a handle"), server.try_clone().expect("a handle"));
                let (up, down) = (up.clone(), down.clone());
                thread::spawn(move || carry(client, server, &up));
                thread::spawn(move || carry(ends.1, ends.0, &down));
            }
        });
        Line { port, deaf_broker, deaf_client }
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, is_deaf: &AtomicBool) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        if !is_deaf.load(Ordering::SeqCst) && to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

fn spool(town: &Town) -> String {
    format!("pub -t a --spool {}", town.path("spool").display())
}

/// The one file with messages.
fn file(town: &Town) -> PathBuf {
    let files = fs::read_dir(town.path("spool")).expect("a folder").map_while(Result::ok);
    files.map(|f| f.path()).find(|f| f.extension().is_some_and(|e| e == "spool")).expect("a spool")
}

fn there(town: &Town) -> String {
    town.good("bob", "sub -t a -e")
}

/// Bob reads what alice publishes, she has been answered once, and no answer comes to her any more.
fn unanswered(town: &Town) -> (Running, Running, String) {
    let (line, spool) = (Line::to(town.port), spool(town));
    let sub = town.start("bob", "sub -t a");
    let mut publisher = town.start("alice", &format!("{spool} -l -v -p {}", line.port));
    publisher.type_in(b"0\n");
    assert_eq!((publisher.line(), sub.line()), ("a 2".to_owned(), "0".to_owned()));
    line.deaf_client.store(true, Ordering::SeqCst);
    (sub, publisher, spool)
}

#[test]
fn without_a_broker_messages_wait() {
    let mut town = Town::without_broker();
    // Nobody listens where the broker will be.
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    town.port = free.local_addr().expect("an address").port();
    drop(free);
    let spool = spool(&town);
    let first = town.run_with("alice", &format!("{spool} -l"), b"one\ntwo\n");
    assert_eq!(first.code, 3, "{first:?}");
    assert!(first.err.contains("2 messages wait in") && first.err.contains("--flush"), "{}", first.err);
    let second = town.run("alice", &format!("{spool} -m three"));
    assert_eq!(second.code, 3, "{second:?}");
    assert!(second.err.contains("3 messages wait in"), "{}", second.err);
    // A publisher that goes on reading accepts more, until it is killed.
    let mut third = town.start("alice", &format!("{spool} -l"));
    third.says("messages are kept in");
    third.type_in(b"four\n");
    let file = file(&town);
    let before = town.run("alice", &format!("{spool} -m x"));
    assert!(before.code == 1 && before.err.contains("in use for a by another sealmq"), "{before:?}");
    third.close_input();
    third.says("4 messages wait in");
    assert_eq!(third.wait().code(), Some(3));
    let content = fs::read(&file).expect("there");
    assert!(!content.windows(5).any(|w| w == b"three"), "it is sealed");

    town.start_broker();
    town.topic("a");
    assert_eq!(town.good("alice", &format!("{spool} -m five -v")), "a 2\na 3\na 4\na 5\na 6\n");
    assert_eq!(there(&town), "one\ntwo\nthree\nfour\nfive\n");
    let nothing = town.run("alice", &format!("{spool} --flush"));
    assert!(nothing.code == 0 && nothing.err.contains("nothing waits in"), "{nothing:?}");
    assert!(fs::metadata(&file).expect("there").len() < 1024, "room is given back");
}

#[test]
fn what_was_stored_and_not_answered_is_there_once() {
    let town = Town::new();
    town.topic("a");
    let (sub, mut publisher, spool) = unanswered(&town);
    publisher.type_in(b"1\n2\n3\n");
    // They are stored; their answers are lost; then the publisher dies.
    assert_eq!([sub.line(), sub.line(), sub.line()], ["1", "2", "3"]);
    publisher.kill();
    publisher.wait();
    assert_eq!(town.good("alice", &format!("{spool} -m 4 -v")), "a 3\na 4\na 5\na 6\n");
    assert_eq!(there(&town), "0\n1\n2\n3\n4\n");
    assert_eq!(town.run("bob", "sub -t a -e --strict").code, 0);
}

#[test]
fn a_counter_that_may_be_stored_is_given_to_no_other_message() {
    let mut town = Town::new();
    town.topic("a");
    let (sub, mut publisher, spool) = unanswered(&town);
    let long = "x".repeat(2000);
    publisher.type_in(format!("{long}\n").as_bytes());
    assert_eq!(sub.line(), long);
    publisher.kill();
    publisher.wait();
    // Before it is answered, the broker comes to take less.
    town.kill_broker();
    fs::write(town.path("sealmqd.toml"), "[limits]\nmessage = \"1 KiB\"").expect("written");
    town.start_broker();
    let told = town.run("alice", &format!("{spool} -m next -v"));
    assert!(told.out.ends_with("a 4\n") && told.err.contains("not answered"), "{told:?}");
    assert_eq!(there(&town), format!("0\n{long}\nnext\n"));
}

#[test]
fn what_was_sent_and_never_came_is_sent_again_under_the_key_of_then() {
    let town = Town::new();
    town.topic("a");
    let (line, spool) = (Line::to(town.port), spool(&town));
    let mut publisher = town.start("bob", &format!("{spool} -l -v -p {}", line.port));
    publisher.type_in(b"0\n");
    assert_eq!(publisher.line(), "a 2");
    let (file, length) = (file(&town), |file: &Path| fs::metadata(file).expect("there").len());
    let before = length(&file);
    line.deaf_broker.store(true, Ordering::SeqCst);
    publisher.type_in(b"1\n2\n");
    // Two messages, and the mark that they are being sent: what was there before is written by now.
    let start = std::time::Instant::now();
    while length(&file) < before + 2 * 77 + 93 {
        assert!(start.elapsed() < crate::support::PATIENCE, "they are accepted");
        thread::yield_now();
    }
    publisher.kill();
    publisher.wait();
    // Meanwhile there is another key.
    town.good("alice", "rotate a");
    assert_eq!(town.good("bob", &format!("{spool} --flush -v")), "a 4\na 5\n");
    assert_eq!(town.good("alice", "sub -t a -e"), "0\n1\n2\n");
    assert_eq!(town.run("alice", "sub -t a -e --strict").code, 0);
}

#[test]
fn killed_at_any_time_nothing_accepted_is_lost_or_doubled() {
    let town = Town::new();
    town.topic("a");
    let spool = spool(&town);
    let mut answered = 0;
    for round in 0..8u32 {
        let mut publisher = town.start("alice", &format!("{spool} -l -v"));
        let lines: String = (0..300).map(|n| format!("{round}-{n}\n")).collect();
        publisher.type_in(lines.as_bytes());
        // Some answers, then the end: some are stored, some are on their way, some were never read.
        for _ in 0..1 + round * 17 {
            publisher.line();
            answered += 1;
        }
        publisher.kill();
        publisher.wait();
        answered += publisher.rest().len();
    }
    let rest = town.run("alice", &format!("{spool} --flush"));
    assert_eq!(rest.code, 0, "{rest:?}");
    let there = there(&town);
    let all: Vec<(u32, u32)> = there
        .lines()
        .map(|line| line.split_once('-').expect("two numbers"))
        .map(|(round, n)| (round.parse().expect("a number"), n.parse().expect("a number")))
        .collect();
    assert!(all.len() >= answered, "{} of {answered}", all.len());
    assert!(all.is_sorted_by(|a, b| a < b), "each once, in order");
    // Of each round the first ones, without a hole.
    for (before, after) in all.iter().zip(&all[1..]) {
        assert!(after.1 == 0 || *after == (before.0, before.1 + 1), "{before:?} {after:?}");
    }
    assert_eq!(town.run("bob", "sub -t a -e --strict").code, 0);
}

#[test]
fn what_may_be_a_repeat_is_said_or_stops() {
    let mut town = Town::new();
    town.topic("a");
    let (sub, mut publisher, spool) = unanswered(&town);
    publisher.type_in(b"1\n");
    assert_eq!(sub.line(), "1");
    publisher.kill();
    publisher.wait();
    // The broker forgets whom it knew, and what it had.
    town.replace_broker();
    town.topic("a");
    let strict = town.run("alice", &format!("{spool} --flush --strict"));
    assert_eq!(strict.code, 7, "{strict:?}");
    assert!(
        strict.err.contains("a repeat is possible") && strict.err.contains("1 message waits"),
        "{strict:?}"
    );
    let told = town.run("alice", &format!("{spool} --flush -v"));
    assert_eq!((told.code, told.out.as_str()), (0, "a 2\n"), "{told:?}");
    assert!(told.err.contains("1 message was sent before and not answered"), "{told:?}");
    assert_eq!(there(&town), "1\n");
}

#[test]
fn a_full_spool_is_an_error_and_a_refused_topic_keeps_what_waits() {
    let mut town = Town::without_broker();
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    town.port = free.local_addr().expect("an address").port();
    drop(free);
    let spool = spool(&town);
    let lines = "0123456789".repeat(20) + "\n";
    let full = town.run_with("alice", &format!("{spool} -l --spool-max 2k"), lines.repeat(50).as_bytes());
    assert_eq!(full.code, 1, "{full:?}");
    assert!(full.err.contains("the spool is full (2 KiB)") && full.err.contains("--spool-max"), "{full:?}");
    assert!(full.err.contains("messages wait in"), "{full:?}");
    town.start_broker();
    let refused = town.run("alice", &format!("{spool} --flush"));
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.err.contains("there is no topic a") && refused.err.contains("wait in"), "{refused:?}");
    town.topic("a");
    assert_eq!(town.run("alice", &format!("{spool} --flush")).code, 0);
    let there = there(&town);
    assert!(there.lines().count() > 3 && there.lines().all(|line| line.len() == 200), "{there}");
}
