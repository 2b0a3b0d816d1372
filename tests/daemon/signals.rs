//! Signals, reloads, and files that change.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sealmq::crypto::cert::testing::key;
use sealmq::crypto::cert::{Host, Role};

use crate::support::{Home, eventually, read, read_to_end};

#[test]
fn term_and_int_end_it_well() {
    for signal in [Signal::TERM, Signal::INT] {
        let home = Home::new();
        let mut daemon = home.start();
        let mut client = daemon.connect();
        assert!(daemon.answers());
        let start = Instant::now();
        daemon.signal(signal);
        assert_eq!(daemon.wait().code(), Some(0));
        assert!(start.elapsed() < Duration::from_secs(5), "nobody had to be waited for");
        assert_eq!(read_to_end(&mut client), b"", "a client without a session is just closed");
        daemon.expect_log("ended", 1);
    }
}

#[test]
fn usr1_writes_a_report() {
    let home = Home::new();
    let daemon = home.start();
    let _client = daemon.connect();
    assert!(daemon.answers());
    daemon.signal(Signal::USR1);
    daemon.expect_log("connections: ", 1);
    daemon.signal(Signal::USR1);
    daemon.expect_log("connections: ", 2);
}

#[test]
fn hup_takes_a_good_list_and_keeps_the_old_one_for_a_bad_one() {
    let home = Home::new();
    let mut daemon = home.start();
    eventually("the number is kept", || read(&home.path("data/crl-number")) == "1\n");

    home.write_crl(3);
    daemon.signal(Signal::HUP);
    daemon.expect_log("a new revocation list, number 3", 1);
    eventually("the number is kept", || read(&home.path("data/crl-number")) == "3\n");

    home.write_crl(2);
    daemon.signal(Signal::HUP);
    daemon.expect_log("nothing is taken over", 1);
    fs::write(home.path("certs/ca.crl"), "junk").expect("written");
    daemon.signal(Signal::HUP);
    daemon.expect_log("nothing is taken over", 2);
    fs::remove_file(home.path("certs/ca.crl")).expect("removed");
    daemon.signal(Signal::HUP);
    daemon.expect_log("the one read before stays in force", 1);

    home.write_crl(4);
    daemon.signal(Signal::HUP);
    daemon.expect_log("a new revocation list, number 4", 1);
    assert!(daemon.is_running() && daemon.answers());
}

#[test]
fn a_change_is_found_without_a_signal() {
    let home = Home::new();
    let mut daemon = home.start();
    daemon.expect_log("1 clients known", 1);
    home.write_crl(2);
    // A new certificate of the same key, as `renew` makes it, and a new client.
    let hosts = [Host::parse("new.example").expect("a host")];
    home.write_certificate("broker", home.world.issue("broker", "broker", Role::Broker, &hosts).der());
    home.write_certificate("bob", &home.world.client("bob").1);
    daemon.expect_log("a new revocation list, number 2", 1);
    daemon.expect_log("for new.example", 1);
    daemon.expect_log("2 clients known", 1);

    // A key that does not belong to the certificate changes nothing.
    home.write_key("broker", &key("carol"));
    daemon.expect_log("nothing is taken over", 1);
    assert!(daemon.is_running() && daemon.answers());
}

#[test]
fn an_older_list_is_refused_also_after_a_restart() {
    let home = Home::new();
    home.write_crl(7);
    let mut daemon = home.start();
    eventually("the number is kept", || read(&home.path("data/crl-number")) == "7\n");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait().code(), Some(0));

    home.write_crl(6);
    let output = home.output(&["--listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(4));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("certs/ca.crl") && said.contains('7'), "{said}");
}

#[test]
fn a_log_that_was_moved_away_is_opened_anew() {
    let home = Home::new();
    let daemon = home.start();
    let moved = home.path("broker.log.1");
    fs::rename(&daemon.log, &moved).expect("moved");
    daemon.signal(Signal::HUP);
    // The line about the signal is written before the file is opened anew, or after.
    eventually("a new log", || read(&daemon.log).contains("clients known"));
    assert!(read(&moved).contains("listening on"));
}
