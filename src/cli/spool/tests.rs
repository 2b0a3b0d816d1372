use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::client::pins::Pins;
use crate::client::{ClientConfig, ClientIdentity};
use crate::crypto::cert::Role;
use crate::crypto::cert::testing::{NOON, Seeded, world};

const LIMIT: u64 = 1 << 20;

struct Bench {
    folder: tempfile::TempDir,
    client: Client,
    me: Fingerprint,
}

impl Bench {
    fn new() -> Bench {
        Bench::of("bob")
    }

    fn of(who: &str) -> Bench {
        let world = world();
        let (key, der) = world.client(who);
        let identity = ClientIdentity { certificate: world.verified(&der, Role::Client), key };
        let me = identity.certificate.fingerprint();
        let entropy = Box::new(Seeded::new(5));
        let client =
            Client::new(ClientConfig::default(), identity, world.trust.clone(), Pins::default(), entropy);
        Bench { folder: tempfile::tempdir().expect("a scratch folder"), client, me }
    }

    fn open(&mut self) -> Result<Spool, CliError> {
        let folder = self.folder.path().join("spool");
        Spool::open(&folder, &topic(), self.me, &mut self.client, LIMIT)
    }

    fn spool(&mut self) -> Spool {
        self.open().expect("a good spool")
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("spool").join(stem(&topic(), self.me)).with_extension("spool")
    }

    fn push(&mut self, spool: &mut Spool, content: &[u8]) {
        spool.push(content, &mut self.client, NOON).expect("there is room");
    }

    fn sync(&mut self, spool: &mut Spool) {
        spool.sync(&mut self.client, NOON).expect("a good disk");
    }

    fn adopt(&mut self, spool: &mut Spool) -> KeptPublisher {
        let kept = self.client.make_publisher(NOON).expect("a sound machine");
        spool.count_under(&kept, &mut self.client, NOON).expect("there is room");
        kept
    }

    fn mark(&mut self, spool: &mut Spool) {
        spool.mark_sent(&mut self.client, NOON).expect("there is room");
    }
}

fn topic() -> TopicName {
    TopicName::parse("a/b").expect("a good name")
}

/// Takes over all that waits: which numbers and contents these are.
fn take(spool: &mut Spool) -> Vec<(u64, Vec<u8>)> {
    let mut all = Vec::new();
    while let Some(message) = spool.peek().expect("readable") {
        all.push((message.number, message.content.to_vec()));
        spool.advance(&message);
    }
    all
}

#[test]
fn messages_wait_until_they_are_answered_sealed_and_ours_alone() {
    let mut b = Bench::new();
    let mut spool = b.spool();
    for content in [&b"one secret"[..], b"", b"three"] {
        b.push(&mut spool, content);
    }
    b.sync(&mut spool);
    let error = b.open().err().expect("it is held").to_string();
    assert!(error.contains("in use for a/b"), "{error}");
    assert_eq!(take(&mut spool).len(), 3);
    spool.stored();
    b.sync(&mut spool);
    drop(spool);
    let bytes = fs::read(b.file()).expect("there");
    assert!(!bytes.windows(6).any(|w| w == b"secret"));
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&b.file()), mode(b.file().parent().expect("a folder"))), (0o600, 0o700));

    let mut spool = b.spool();
    assert_eq!((spool.waiting(), spool.maybe_stored(), spool.counter()), (2, 0, 1));
    assert_eq!(take(&mut spool), [(1, b"".to_vec()), (2, b"three".to_vec())]);
    spool.stored();
    spool.stored();
    spool.clear().expect("a good disk");
    drop(spool);
    let mut spool = b.spool();
    assert_eq!((spool.waiting(), take(&mut spool).len()), (0, 0));
    drop(spool);
    // Somebody else's key does not open it.
    let mut other = Bench::of("alice");
    other.me = b.me;
    std::mem::swap(&mut other.folder, &mut b.folder);
    let error = other.open().err().expect("not alice's").to_string();
    assert!(error.contains("its key does not open") && error.contains(".damaged"), "{error}");
}

/// Cut at every byte: what was synced before is there, in its place; nothing else is made up.
#[test]
fn a_crash_at_any_byte_keeps_what_was_synced() {
    let mut b = Bench::new();
    let mut spool = b.spool();
    // After each step: the file's length, and how many messages were accepted and answered by then.
    let mut steps = vec![(spool.written, 0, 0)];
    let kept = b.adopt(&mut spool);
    for round in 0..4u8 {
        for n in 0..3 {
            b.push(&mut spool, &[round, n, 7]);
        }
        take(&mut spool);
        b.mark(&mut spool);
        b.sync(&mut spool);
        steps.push((spool.written, u64::from(round + 1) * 3, u64::from(round) * 2));
        spool.stored();
        spool.stored();
        b.sync(&mut spool);
        steps.push((spool.written, u64::from(round + 1) * 3, u64::from(round + 1) * 2));
    }
    drop(spool);
    let whole = fs::read(b.file()).expect("there");
    assert_eq!(whole.len() as u64, steps.last().expect("steps").0);
    for cut in (steps[0].0..=whole.len() as u64).step_by(13).chain([whole.len() as u64]) {
        fs::write(b.file(), &whole[..cut as usize]).expect("written");
        let (_, accepted, answered) = *steps.iter().rfind(|(length, ..)| *length <= cut).expect("the header");
        let mut spool = b.spool();
        assert!(spool.history.next >= accepted, "cut at {cut}");
        assert!(spool.history.done >= answered && spool.history.done <= spool.history.next, "cut at {cut}");
        if accepted > 0 {
            let publisher = spool.publisher().expect("it was kept first");
            assert_eq!((publisher.id, publisher.seed == kept.seed), (kept.id, true));
            // Under one id, a message's counter never changes.
            assert_eq!(spool.counter(), spool.history.done);
        }
        let (done, next) = (spool.history.done, spool.history.next);
        let expected: Vec<_> = (done..next).map(|n| (n, vec![(n / 3) as u8, (n % 3) as u8, 7])).collect();
        assert_eq!(take(&mut spool), expected, "cut at {cut}");
        // It goes on behind the cut.
        b.push(&mut spool, b"more");
        b.sync(&mut spool);
        drop(spool);
        assert_eq!(take(&mut b.spool()).last(), Some(&(next, b"more".to_vec())));
    }
}

#[test]
fn damage_in_the_middle_is_refused_and_never_read_over() {
    let mut b = Bench::new();
    let mut spool = b.spool();
    let header = spool.header.len();
    for n in 0..3 {
        b.push(&mut spool, &[n; 40]);
    }
    let last = spool.written as usize - (spool.written as usize - header) / 3;
    b.sync(&mut spool);
    drop(spool);
    let whole = fs::read(b.file()).expect("there");
    for at in (0..last).step_by(7) {
        let mut bad = whole.clone();
        bad[at] ^= 1;
        fs::write(b.file(), &bad).expect("written");
        let error = b.open().err().unwrap_or_else(|| panic!("byte {at}")).to_string();
        assert!(error.contains("cannot be used"), "byte {at}: {error}");
        assert_eq!(fs::read(b.file()).expect("there"), bad, "it is not changed");
    }
    // At the end it is a record that was not written as a whole.
    let mut bad = whole.clone();
    bad[last + 20] ^= 1;
    fs::write(b.file(), &bad).expect("written");
    assert_eq!(take(&mut b.spool()).len(), 2);
    assert_eq!(fs::metadata(b.file()).expect("there").len() as usize, last);
}

#[test]
fn a_refused_message_leaves_its_counter_to_the_next() {
    let mut b = Bench::new();
    let mut spool = b.spool();
    b.adopt(&mut spool);
    for n in 0..3 {
        b.push(&mut spool, &[n]);
    }
    take(&mut spool);
    b.mark(&mut spool);
    spool.stored();
    spool.refused();
    spool.rewind();
    assert_eq!((spool.counter(), spool.waiting()), (1, 1));
    assert_eq!(take(&mut spool), [(2, vec![2])]);
    b.sync(&mut spool);
    drop(spool);
    let mut spool = b.spool();
    assert_eq!((spool.counter(), spool.maybe_stored(), take(&mut spool)), (1, 1, vec![(2, vec![2])]));
}

#[test]
fn a_spool_is_bounded_and_gives_room_back() {
    let mut b = Bench::new();
    let mut spool = b.spool();
    let header = spool.written;
    b.adopt(&mut spool);
    let mut accepted = 0u64;
    while spool.has_room(10_000) {
        b.push(&mut spool, &vec![accepted as u8; 10_000]);
        accepted += 1;
    }
    assert!(spool.written - header <= LIMIT && accepted > 90);
    // Hours of messages come and go.
    for round in 0..40 {
        let waiting = take(&mut spool);
        b.mark(&mut spool);
        assert_eq!(waiting.first().map(|(n, _)| *n), Some(round * 50), "from the first that is not answered");
        for _ in 0..50 {
            spool.stored();
        }
        spool.rewind();
        b.sync(&mut spool);
        // Marks take some room, too.
        let before = accepted;
        while accepted < before + 50 && spool.has_room(10_000) {
            b.push(&mut spool, &vec![accepted as u8; 10_000]);
            accepted += 1;
        }
        assert!(accepted >= before + 48, "{round}: {}", accepted - before);
        b.sync(&mut spool);
        let length = fs::metadata(b.file()).expect("there").len();
        assert!(length == spool.written && length < 3 * LIMIT, "{length}");
    }
    let (counter, id) = (spool.counter(), spool.publisher().expect("it is kept").id);
    drop(spool);
    let mut spool = b.spool();
    assert_eq!((spool.counter(), spool.publisher().map(|kept| kept.id)), (counter, Some(id)));
    let waiting = take(&mut spool);
    assert_eq!(waiting.len() as u64, spool.waiting());
    assert!(waiting.iter().all(|(n, content)| content[..] == vec![*n as u8; 10_000][..]));
}
