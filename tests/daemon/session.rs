//! Clients with a session, and what the broker owes them: a close with its reason, and no
//! more input than they take output.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sealmq::base::entropy::random_array;
use sealmq::base::limits::TOKEN_BYTES_MAX;
use sealmq::crypto::cert::testing::Seeded;
use sealmq::crypto::cert::{Certificate, Role};
use sealmq::crypto::key::PrivateKey;
use sealmq::session::client::{ClientHandshake, Step, Surroundings};
use sealmq::session::inbox::Progress;
use sealmq::session::{Inbox, Opener, Sealer};
use sealmq::wire::frame::{BrokerFrame, ClientFrame, scan_bodies};
use sealmq::wire::values::CloseCode;

use crate::support::{Daemon, Home, now, read};

/// A client's end of a session, over a blocking socket.
struct Client {
    stream: TcpStream,
    sealer: Sealer,
    opener: Opener,
    inbox: Inbox,
    entropy: Seeded,
}

impl Client {
    fn connect(daemon: &Daemon, home: &Home, name: &str) -> Client {
        let (key, der) = home.world.client(name);
        let certificate = home.world.trust.verify(&der, Role::Client, now()).expect("a good certificate");
        let mut stream = daemon.connect();
        let mut entropy = Seeded::new(7);
        let (sealer, opener) = handshake(&mut stream, home, &key, &certificate, &mut entropy);
        Client { stream, sealer, opener, inbox: Inbox::new(), entropy }
    }

    /// One record with these frames.
    fn seal(&mut self, frames: &[ClientFrame]) -> Vec<u8> {
        let mut out = Vec::new();
        let start = self.sealer.begin(&mut out);
        frames.iter().for_each(|frame| frame.encode(&mut out));
        self.sealer.finish(&mut out, start, now(), &random_array(&mut self.entropy));
        out
    }

    /// The next record's frames; `None` once the broker has closed the connection.
    fn frames(&mut self) -> Option<Vec<BrokerFrame>> {
        loop {
            let progress = self.inbox.next_record(&mut self.opener, scan_bodies, 1 << 21);
            if let Progress::Record(record) = progress.expect("a good record") {
                return Some(BrokerFrame::decode_all(record.frames).expect("good frames"));
            }
            let mut buffer = vec![0; 64 * 1024];
            match self.stream.read(&mut buffer).expect("an answer in time") {
                0 => return None,
                n => self.inbox.push(&buffer[..n]),
            }
        }
    }

    /// Reads on to the close; then the connection must end.
    fn close_code(&mut self) -> CloseCode {
        loop {
            let frames = self.frames().expect("a close comes before the end");
            if let Some(BrokerFrame::Close { code, .. }) = frames.last() {
                let code = *code;
                assert_eq!(self.frames(), None, "nothing comes behind a close");
                return code;
            }
        }
    }

    fn is_answered(&mut self) -> bool {
        let ping = self.seal(&[ClientFrame::Ping { number: 99 }]);
        self.stream.write_all(&ping).expect("the broker takes it");
        loop {
            match self.frames() {
                Some(frames) if frames.contains(&BrokerFrame::Pong { number: 99 }) => return true,
                Some(_) => {}
                None => return false,
            }
        }
    }
}

fn handshake(
    stream: &mut TcpStream,
    home: &Home,
    key: &PrivateKey,
    certificate: &Certificate,
    entropy: &mut Seeded,
) -> (Sealer, Opener) {
    let (mut state, mut bytes) = ClientHandshake::start(entropy);
    loop {
        stream.write_all(&bytes).expect("the broker takes it");
        let mut length = [0; 4];
        stream.read_exact(&mut length).expect("an answer");
        let mut message = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut message).expect("an answer");
        let with = Surroundings {
            trust: &home.world.trust,
            certificate,
            key,
            host: Some("127.0.0.1"),
            now: now(),
            entropy,
        };
        match state.handle(message[0], &message[1..], with).expect("the broker does its part") {
            Step::Handshake(next, out) => (state, bytes) = (next, out),
            Step::Active(active, out, _) => {
                stream.write_all(&out).expect("the broker takes it");
                return active.keys.into_client();
            }
        }
    }
}

#[test]
fn term_tells_the_clients() {
    let home = Home::new();
    let mut daemon = home.start();
    let mut alice = Client::connect(&daemon, &home, "alice");
    assert!(alice.is_answered());
    daemon.signal(Signal::TERM);
    assert_eq!(alice.close_code(), CloseCode::ShuttingDown);
    drop(alice);
    assert_eq!(daemon.wait().code(), Some(0));
}

/// The client keeps its side open, so the first signal alone would wait for it.
#[test]
fn a_second_signal_ends_it_at_once() {
    let home = Home::new();
    let mut daemon = home.start();
    let mut alice = Client::connect(&daemon, &home, "alice");
    assert!(alice.is_answered());
    daemon.signal(Signal::TERM);
    daemon.signal(Signal::INT);
    assert_eq!(daemon.wait().code(), Some(0));
    assert!(read(&daemon.log).contains("a second signal"), "{}", read(&daemon.log));
}

#[test]
fn a_revoked_session_ends_within_five_seconds_and_others_go_on() {
    let home = Home::new();
    let daemon = home.start();
    let mut alice = Client::connect(&daemon, &home, "alice");
    let mut bob = Client::connect(&daemon, &home, "bob");
    assert!(alice.is_answered() && bob.is_answered());
    let start = Instant::now();
    home.write_crl_revoking(2, "alice");
    assert_eq!(alice.close_code(), CloseCode::Revoked);
    let taken = start.elapsed();
    assert!(taken < Duration::from_secs(5), "{taken:?}");
    assert!(bob.is_answered());
}

/// A peer that writes and does not read is not read from: its bytes stay with it. When it
/// reads again, every answer comes, in order.
#[test]
fn who_does_not_read_is_not_read_from() {
    let home = Home::new();
    let daemon = home.start();
    let mut alice = Client::connect(&daemon, &home, "alice");
    let mut bob = Client::connect(&daemon, &home, "bob");
    let (sent, rest) = ping_until_held_back(&mut alice, &mut bob);

    let mut writer = alice.stream.try_clone().expect("a second handle");
    writer.set_write_timeout(None).expect("a socket takes a timeout");
    let writing = std::thread::spawn(move || writer.write_all(&rest).expect("it is read from again"));
    let mut answered = 0;
    while answered < sent {
        for frame in alice.frames().expect("the session goes on") {
            if let BrokerFrame::Pong { number } = frame {
                assert_eq!(number, answered, "in order");
                answered += 1;
            }
        }
    }
    writing.join().expect("the rest is written");
}

#[test]
fn who_does_not_read_is_not_waited_for_at_the_end() {
    let home = Home::new();
    let mut daemon = home.start();
    let mut alice = Client::connect(&daemon, &home, "alice");
    let mut bob = Client::connect(&daemon, &home, "bob");
    ping_until_held_back(&mut alice, &mut bob);
    let start = Instant::now();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait().code(), Some(0));
    let taken = start.elapsed();
    assert!(taken > Duration::from_secs(4) && taken < Duration::from_secs(9), "{taken:?}");
}

/// Sends pings and reads nothing, until the broker takes no more, though it answers the
/// witness. Returns how many were sealed, and the bytes that were not taken.
fn ping_until_held_back(client: &mut Client, witness: &mut Client) -> (u64, Vec<u8>) {
    const PINGS_PER_RECORD: u64 = 4000;
    const PINGS_MAX: u64 = 4000 * PINGS_PER_RECORD;
    client.stream.set_write_timeout(Some(Duration::from_millis(300))).expect("a socket takes a timeout");
    let mut sent = 0;
    loop {
        assert!(sent < PINGS_MAX, "it takes and takes");
        let pings: Vec<_> =
            (sent..sent + PINGS_PER_RECORD).map(|number| ClientFrame::Ping { number }).collect();
        sent += PINGS_PER_RECORD;
        let record = client.seal(&pings);
        assert!(record.len() <= TOKEN_BYTES_MAX);
        let mut rest = write_some(&mut client.stream, record);
        // On a busy machine the broker may only be slow: it is asked, and tried, again.
        let mut in_vain = 0;
        while !rest.is_empty() {
            assert!(witness.is_answered(), "others are served");
            let before = rest.len();
            rest = write_some(&mut client.stream, rest);
            in_vain = if rest.len() == before { in_vain + 1 } else { 0 };
            if in_vain == 3 {
                return (sent, rest);
            }
        }
    }
}

/// Writes until the timeout; returns what was not taken.
fn write_some(stream: &mut TcpStream, mut bytes: Vec<u8>) -> Vec<u8> {
    while !bytes.is_empty() {
        match stream.write(&bytes) {
            Ok(n) => drop(bytes.drain(..n)),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(e) => panic!("the broker has closed: {e}"),
        }
    }
    bytes
}
