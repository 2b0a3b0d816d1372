//! Ports, descriptors, disks and pipes that are full.

use std::io::Write;
use std::net::TcpListener;
use std::process::Stdio;
use std::time::Instant;

use rustix::process::Signal;

use crate::support::{Daemon, Home, eventually};

#[test]
fn a_busy_port_is_named() {
    let home = Home::new();
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = holder.local_addr().expect("bound").to_string();
    let output = home.output(&["--listen", &address]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&format!("cannot listen on {address}: another program")), "{said}");
    assert!(output.stdout.is_empty(), "it did not serve");
}

#[test]
fn it_listens_wherever_it_is_asked_to() {
    let home = Home::new();
    let daemon =
        home.start_with(&["--listen", "127.0.0.1:0", "--listen", "[::1]:0", "--listen", "127.0.0.1:0"]);
    let mut ports: Vec<u16> = daemon.addresses.iter().map(|a| a.port()).collect();
    ports.sort_unstable();
    ports.dedup();
    assert!(ports.len() == 3 && ports[0] != 0, "{ports:?}");
    assert!(daemon.addresses[1].is_ipv6());
    for address in &daemon.addresses {
        std::net::TcpStream::connect(address).expect("it accepts");
    }
}

/// No event comes again for those in the backlog: the broker has to remember them.
#[cfg(target_os = "linux")]
#[test]
fn connections_beyond_the_descriptors_are_accepted_later() {
    use rustix::process::{Resource, Rlimit, prlimit};

    let home = Home::new();
    let mut daemon = home.start();
    assert!(daemon.answers());
    let open =
        std::fs::read_dir(format!("/proc/{}/fd", daemon.pid().as_raw_nonzero())).expect("it runs").count();
    let limit = |current| {
        let new = Rlimit { current: Some(current), maximum: Some(1 << 12) };
        prlimit(Some(daemon.pid()), Resource::Nofile, new).expect("our own child");
    };
    limit(open as u64 + 2);
    let mut waiting: Vec<_> = (0..8).map(|_| daemon.connect()).collect();
    daemon.expect_log("cannot accept connections", 1);

    // One goes, so the next one comes in, and is answered.
    let mut served = waiting.remove(7);
    served.write_all(b"nonsense").expect("it is in the backlog");
    drop(waiting);
    assert!(crate::support::is_refusal(&crate::support::read_to_end(&mut served)));

    // More descriptors, without a close: found by the timer.
    let waiting: Vec<_> = (0..8).map(|_| daemon.connect()).collect();
    limit(1024);
    assert!(daemon.answers());
    drop(waiting);
    let log = crate::support::read(&daemon.log);
    assert_eq!(log.matches("cannot accept connections").count(), 1, "once for the episode: {log}");
    assert!(daemon.is_running());
}

#[test]
fn few_descriptors_lower_the_number_of_connections() {
    let home = Home::new();
    let log = home.path("broker.log");
    let mut limited = std::process::Command::new("sh");
    let sealmqd = home.command();
    limited
        .arg("-c")
        .arg("ulimit -n 100; exec \"$@\"")
        .arg("sh")
        .arg(sealmqd.get_program())
        .args(sealmqd.get_args());
    limited.args(["--listen", "127.0.0.1:0", "--log-file"]).arg(&log);
    let daemon = Daemon::spawn(limited, log);
    daemon.expect_log("100 open files are allowed: at most 59 connections, not 10000", 1);
    assert!(daemon.answers());
}

#[test]
fn a_full_disk_for_the_log_stops_nothing() {
    let home = Home::new();
    let full = "/dev/full";
    if !std::path::Path::new(full).exists() {
        return;
    }
    let mut command = home.command();
    command.args(["--listen", "127.0.0.1:0", "--log-level", "trace", "--log-file", full]);
    command.stderr(Stdio::piped());
    let mut daemon = Daemon::spawn(command, full.into());
    assert!(daemon.answers() && daemon.answers());
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait().code(), Some(0));
    let said = daemon.stderr();
    assert!(said.contains("the log /dev/full cannot be written"), "{said}");
    assert_eq!(said.matches("cannot be written").count(), 1, "once: {said}");
}

/// Standard error is a pipe that is full, for nobody reads it: the loop goes on.
#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let home = Home::new();
    let mut command = home.command();
    command.args(["--listen", "127.0.0.1:0", "--log-level", "trace"]).stderr(Stdio::piped());
    let mut daemon = Daemon::spawn(command, home.path("no.log"));
    // Two lines or more for each; a pipe holds 64 KiB.
    let start = Instant::now();
    for _ in 0..400 {
        daemon.signal(Signal::USR1);
        assert!(daemon.answers());
    }
    assert!(start.elapsed() < crate::support::PATIENCE);
    daemon.signal(Signal::TERM);
    eventually("it ends without waiting for the reader", || !daemon.is_running());
    let log = daemon.stderr();
    assert!(log.len() >= 32 * 1024, "the pipe was filled: {}", log.len());
}
