//! Peers that break the rules, and what they cannot do.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::support::{Daemon, Home, is_refusal, read_to_end};

/// Length, type and the first fields of a ClientHello.
const HELLO_BEGIN: &[u8] = b"\0\0\0\x49\x01SEALMQ\0\x01";

/// What the broker says to these bytes before it closes.
fn answer(daemon: &Daemon, bytes: &[u8]) -> Vec<u8> {
    let mut stream = daemon.connect();
    // It may close before all is written.
    let _ = stream.write_all(bytes);
    read_to_end(&mut stream)
}

#[test]
fn garbage_is_refused_and_harms_nobody() {
    let home = Home::new();
    let mut daemon = home.start();
    let megabyte = vec![0xa5; 1 << 20];
    for bytes in [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".as_slice(),
        &[0xff; 5],
        &[0xff, 0xff, 0xff, 0xff, 1],
        &[0x80, 0, 0, 0, 1, 2, 3],
        &megabyte,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ] {
        let said = answer(&daemon, bytes);
        assert!(is_refusal(&said), "{:02x?} to {:02x?}", said, &bytes[..5]);
    }
    assert!(daemon.is_running());
}

#[test]
fn peers_that_come_and_go_leave_nothing() {
    let home = Home::new();
    let mut daemon = home.start();
    for round in 0..300 {
        let mut stream = daemon.connect();
        match round % 4 {
            0 => {}
            1 => stream.write_all(&HELLO_BEGIN[..7]).expect("it takes bytes"),
            2 => stream.shutdown(Shutdown::Write).expect("a socket can be half closed"),
            _ => stream.write_all(&[0; 100]).expect("it takes bytes"),
        }
    }
    assert!(daemon.answers() && daemon.is_running());
    let open = || {
        std::fs::read_dir(format!("/proc/{}/fd", daemon.pid().as_raw_nonzero())).map_or(0, Iterator::count)
    };
    crate::support::eventually("their descriptors are closed", || open() < 30);
}

/// Half a hello, then silence: ended by the handshake's deadline.
#[test]
fn half_a_message_and_silence_is_ended() {
    let home = Home::new();
    let daemon = home.start();
    let start = Instant::now();
    let mut silent = daemon.connect();
    let mut half = daemon.connect();
    half.write_all(HELLO_BEGIN).expect("it takes bytes");
    assert!(is_refusal(&read_to_end(&mut half)));
    read_to_end(&mut silent);
    let taken = start.elapsed();
    assert!(taken >= Duration::from_secs(9) && taken < Duration::from_secs(25), "{taken:?}");
    assert!(daemon.answers());
}

/// Each byte comes within any idle deadline; the handshake has one as a whole.
#[test]
fn a_byte_a_second_does_not_hold_a_place() {
    let home = Home::new();
    let daemon = home.start();
    let mut stream = daemon.connect();
    stream.set_read_timeout(Some(Duration::from_secs(1))).expect("a socket takes a timeout");
    let start = Instant::now();
    let mut bytes = HELLO_BEGIN.iter().chain(std::iter::repeat(&0));
    while !is_ended_after(&mut stream, *bytes.next().expect("they go on")) {
        assert!(start.elapsed() < Duration::from_secs(25), "it was served for too long");
    }
    assert!(start.elapsed() >= Duration::from_secs(9), "{:?}", start.elapsed());
    assert!(daemon.answers());
}

/// Sends a byte, and waits a second for an end.
fn is_ended_after(stream: &mut TcpStream, byte: u8) -> bool {
    if stream.write_all(&[byte]).is_err() {
        return true;
    }
    match stream.read(&mut [0; 512]) {
        // A refusal, or the end itself.
        Ok(n) => n < 512,
        Err(e) => !matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}
