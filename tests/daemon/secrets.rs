//! A broker that has been busy knows nothing of what it carried: its memory, its folder and its log
//! are searched for a message and for keys, and so is a process that does know them.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use base64ct::{Base64Unpadded, Base64UrlUnpadded, Encoding};
use sealmq::base::Entropy;
use sealmq::base::entropy::random_array;
use sealmq::base::ids::TopicId;
use sealmq::base::names::{Name, TopicFilter, TopicName};
use sealmq::chain::{BODY_LABEL, PREVIOUS_EPOCH_LABEL, epoch_salt};
use sealmq::client::{
    Answer, Client, CreateRequest, Event, Failure, GrantAs, History, Integrity, IntegrityFault, MemberChoice,
    Message, Ticket,
};
use sealmq::crypto::kdf::kdf;
use sealmq::crypto::secret::Secret32;
use sealmq::net::SystemEntropy;
use sealmq::net::client::Connection;
use sealmq::wire::values::Start;

use crate::clients::connection;
use crate::search::{Found, Memory, Search};
use crate::support::{Daemon, Home, PATIENCE, read};

/// Everybody has its own client, and all of them live in this process.
struct Party<'a> {
    home: &'a Home,
    daemon: &'a Daemon,
    people: BTreeMap<&'static str, Person>,
}

struct Person {
    connection: Connection,
    answers: BTreeMap<Ticket, Result<Answer, Failure>>,
    messages: Vec<Message>,
}

/// What stands in every message.
type Canary = [u8; 24];

/// With what is looked for: what the broker must not have, and what it must.
struct Wanted {
    canary: Canary,
    topics: Vec<(TopicName, TopicId)>,
}

const ALL: &str = "busy/#";
/// Labels of what the broker knows begin with this.
const KNOWN: &str = "known: ";
const MESSAGES: usize = 40;

impl Party<'_> {
    fn come(&mut self, who: &'static str, key_of: &str) {
        let connection = connection(self.home, self.daemon, who, key_of);
        let person = Person { connection, answers: BTreeMap::new(), messages: Vec::new() };
        self.people.insert(who, person);
        self.ask(who, Client::ping);
    }

    fn person(&mut self, who: &str) -> &mut Person {
        self.people.get_mut(who).expect("somebody who has come")
    }

    /// Lets all talk until it is so.
    fn until<T>(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = is_so(self) {
                return found;
            }
            assert!(start.elapsed() < PATIENCE, "in vain: {what}");
            self.people.values_mut().for_each(Person::listen);
        }
    }

    fn try_ask(&mut self, who: &str, ask: impl FnOnce(&mut Client) -> Ticket) -> Result<Answer, Failure> {
        let ticket = ask(self.person(who).connection.core());
        self.until("an answer", |party| party.person(who).answers.remove(&ticket))
    }

    fn ask(&mut self, who: &str, ask: impl FnOnce(&mut Client) -> Ticket) -> Answer {
        self.try_ask(who, ask).unwrap_or_else(|failure| panic!("{who} was refused: {failure}"))
    }

    fn create(&mut self, topic: &TopicName, history: History) -> TopicId {
        let members = MemberChoice::Only(vec![name("bob")]);
        let request = CreateRequest { members, history, ..CreateRequest::new(topic.clone()) };
        match self.ask("alice", |client| client.create(request)) {
            Answer::Created(created) => created.id,
            other => panic!("not made but {other:?}"),
        }
    }

    fn subscribe(&mut self, who: &str) {
        self.ask(who, |client| client.subscribe(filter(ALL), Start::Earliest));
    }

    /// Alice and bob publish to a topic by turns, as fast as they may.
    fn chat(&mut self, topic: &TopicName, canary: &Canary) {
        for n in 0..MESSAGES {
            let who = ["alice", "bob"][n % 2];
            let content = [format!("number {n}: ").as_bytes(), canary, b", said again: ", canary].concat();
            self.until("room in the window", |party| {
                party.person(who).connection.core().publish(topic, &content).ok()
            });
        }
        self.until("all are stored", |party| {
            let is_done = |who| party.person(who).connection.core().unanswered_publishes() == 0;
            ["alice", "bob"].map(is_done).iter().all(|done| *done).then_some(())
        });
    }

    /// Waits until `who` has been shown so many messages of a topic.
    fn hears(&mut self, who: &str, topic: &TopicName, count: usize) {
        self.until(&format!("{count} messages of {topic} for {who}"), |party| {
            let heard = party.person(who).messages.iter().filter(|message| message.topic == *topic).count();
            assert!(heard <= count, "{who} hears more of {topic} than it should");
            (heard == count).then_some(())
        });
    }
}

impl Person {
    /// Takes what has come, or comes very soon.
    fn listen(&mut self) {
        let mut deadline = self.connection.now().mono + Duration::from_millis(1);
        while let Some(event) = self.connection.wait(Some(deadline)).expect("the poll works") {
            deadline = self.connection.now().mono;
            match event {
                Event::Answer { ticket, result } => drop(self.answers.insert(ticket, result)),
                Event::Message(message) => self.messages.push(message),
                // Of what was there before somebody came, where it may not read that.
                Event::Integrity(Integrity { fault: IntegrityFault::NoKey { .. }, .. }) => {}
                Event::Integrity(integrity) => panic!("{integrity:?}"),
                Event::Disconnected { reason, .. } => panic!("{reason}"),
                _ => {}
            }
        }
    }
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("a good name")
}

fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text).expect("a good filter")
}

/// Topics, messages, somebody who comes late, new epochs, somebody who goes, history read again.
fn be_busy(party: &mut Party<'_>, entropy: &mut dyn Entropy) -> Wanted {
    let canary: Canary = random_array(entropy);
    let tag: [u8; 16] = random_array(entropy);
    let topic = |n| TopicName::parse(&format!("busy/{}/{n}", hex(&tag))).expect("a good name");
    let (first, second) = (topic(1), topic(2));
    for (who, key_of) in [("alice", "alice"), ("bob", "bob"), ("carol", "carol"), ("mallory", "other-ca")] {
        party.come(who, key_of);
    }
    let ids = [party.create(&first, History::All), party.create(&second, History::SinceJoin)];
    party.subscribe("bob");
    party.chat(&first, &canary);
    party.chat(&second, &canary);

    // Somebody who comes late asks, is let in, and reads from the beginning where it may.
    party.ask("carol", |client| client.join(&first));
    party.ask("carol", |client| client.join(&second));
    for topic in [&first, &second] {
        party.ask("alice", |client| client.grant(topic, vec![name("carol")], GrantAs::Member));
        party.chat(topic, &canary);
    }
    party.subscribe("carol");
    party.hears("carol", &first, 2 * MESSAGES);
    party.hears("carol", &second, MESSAGES);

    for _ in 0..3 {
        party.ask("alice", |client| client.rotate(&first));
        party.chat(&first, &canary);
    }
    for topic in [&first, &second] {
        party.ask("alice", |client| client.revoke(topic, vec![name("carol")]));
        party.chat(topic, &canary);
    }
    party.ask("alice", |client| client.grant(&first, vec![name("mallory")], GrantAs::Admin));
    party.ask("mallory", |client| client.rotate(&first));
    party.chat(&first, &canary);
    party.subscribe("mallory");
    party.hears("mallory", &first, 7 * MESSAGES);

    // Once more from the beginning, and one message that does not fit into a token.
    party.hears("bob", &first, 7 * MESSAGES);
    party.ask("bob", |client| client.unsubscribe(filter(ALL)));
    party.person("bob").messages.clear();
    party.subscribe("bob");
    party.hears("bob", &first, 7 * MESSAGES);
    let large = canary.repeat(20_000);
    party.ask("alice", |client| client.publish(&first, &large).expect("room"));
    party.hears("bob", &first, 7 * MESSAGES + 1);
    party.hears("bob", &second, 3 * MESSAGES);
    Wanted { canary, topics: [first, second].into_iter().zip(ids).collect() }
}

impl Wanted {
    /// What to look for, and the labels of what somebody who knows it all has in memory as it is.
    fn search(&self, party: &Party<'_>) -> (Search, Vec<String>) {
        let mut search = Search::new();
        let mut known = vec!["canary".to_owned()];
        add_all_forms(&mut search, "canary", &self.canary);
        for (topic, id) in &self.topics {
            search.add(&format!("{KNOWN}the name of {topic}"), topic.as_str().as_bytes());
            search.add(&format!("{KNOWN}the id of {topic}"), &id.0);
            let secrets = party.people["alice"].connection.client().topic_secrets(topic);
            for (id, epoch, key) in secrets {
                let label = format!("key of epoch {} of {topic}", epoch.0);
                add_all_forms(&mut search, &label, key.expose());
                known.push(label.clone());
                for of in [BODY_LABEL, PREVIOUS_EPOCH_LABEL] {
                    add_fernet_key(
                        &mut search,
                        &format!("{label}, {of}"),
                        &kdf(key.expose(), &epoch_salt(id, epoch), of),
                    );
                }
            }
        }
        for (who, person) in &party.people {
            for (n, seed) in person.connection.client().signing_seeds().iter().enumerate() {
                let label = format!("signing key {n} of {who}");
                add_all_forms(&mut search, &label, seed.expose());
                known.push(label);
            }
        }
        (search, known)
    }
}

/// A key whose halves are used on their own, too.
fn add_fernet_key(search: &mut Search, label: &str, key: &Secret32) {
    add_all_forms(search, label, key.expose());
    for (half, of) in key.expose().chunks(16).zip(["signing", "encryption"]) {
        search.add(&format!("{label}, {of} half"), half);
    }
}

/// Bytes as they are, in hexadecimal, and in base64 wherever they stand in what is encoded.
fn add_all_forms(search: &mut Search, label: &str, bytes: &[u8]) {
    search.add(label, bytes);
    search.add(&format!("{label} in hex"), hex(bytes).as_bytes());
    search.add(&format!("{label} in HEX"), hex(bytes).to_uppercase().as_bytes());
    for shift in 0..3 {
        let shifted = [&[0; 2][..shift], bytes].concat();
        // Without the digits that hold bits of what stands before and behind.
        let inner = (shift * 8).div_ceil(6)..shifted.len() * 8 / 6;
        let digits = [Base64Unpadded::encode_string(&shifted), Base64UrlUnpadded::encode_string(&shifted)];
        for digits in digits {
            search.add(&format!("{label} in base64"), &digits.as_bytes()[inner.clone()]);
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Of what was found, what only members and publishers may have.
fn secrets_of(found: &Found) -> Vec<&String> {
    found.keys().filter(|label| !label.starts_with(KNOWN)).collect()
}

#[test]
fn a_busy_broker_has_neither_contents_nor_keys() {
    let home = Home::new();
    let mut command = home.command();
    let log = home.path("broker.log");
    command.args(["--listen", "127.0.0.1:0", "--log-level", "trace", "--log-file"]).arg(&log);
    // If it wrote a core, or anything else beside its home, it would be there.
    command.current_dir(home.path(""));
    for who in ["bob", "carol"] {
        home.write_certificate(who, &home.world.client(who).1);
    }
    let daemon = Daemon::spawn(command, log);
    let mut party = Party { home: &home, daemon: &daemon, people: BTreeMap::new() };
    let mut entropy = SystemEntropy::new().expect("the system has randomness");
    let wanted = be_busy(&mut party, &mut entropy);
    let (search, known) = wanted.search(&party);
    // Two topics with epochs of their own, and all who have published.
    assert!(known.len() >= 1 + 6 + 3 + 2, "{known:?}");

    let mut found = Found::new();
    for (path, bytes) in home.snapshot() {
        search.through_bytes(path.to_string_lossy().as_bytes(), &mut found);
        search.through_bytes(&bytes, &mut found);
    }
    let log = read(&daemon.log);
    println!("the log: {} lines", log.lines().count());
    assert!(log.contains("TRACE") && log.contains("mallory"), "the log tells everything that it can");
    assert_eq!(secrets_of(&found), [""; 0], "in its folder or its log");

    search_memory(&daemon, &search, &known, &mut entropy);
    println!("core dumps of the broker: {}", core_limit(&daemon));
    drop(party);
}

/// The broker's memory while it runs, and our own, where all of it must be.
fn search_memory(daemon: &Daemon, search: &Search, known: &[String], entropy: &mut dyn Entropy) {
    let pid = daemon.pid().as_raw_nonzero().to_string();
    let memories = Memory::of(&pid).and_then(|broker| Ok((broker, Memory::of("self")?)));
    let (broker, publisher) = match memories {
        Ok(memories) => memories,
        Err(error) => {
            println!("SKIPPED: this system does not show the memory of a process: {error}");
            return;
        }
    };
    let mut found = Found::new();
    let (bytes, unread) = broker.search(search, &mut found);
    println!("the broker: {bytes} bytes in {} mappings, found {found:?}", broker.mappings.len());
    assert_eq!(unread, [""; 0], "all of the broker's memory is read");
    let count = found.keys().filter(|label| label.starts_with(KNOWN)).count();
    assert_eq!(count, 4, "it knows names and ids of both topics: {found:?}");
    assert_eq!(secrets_of(&found), [""; 0], "in its memory");

    found.clear();
    let (bytes, _) = publisher.search(search, &mut found);
    println!("the publisher: {bytes} bytes, found {found:?}");
    for label in known {
        assert!(found.contains_key(label), "the same search finds the {label} in the publisher: {found:?}");
    }
    find_across_borders(&publisher, entropy);
}

/// What stands across the borders of the pieces in which memory is read is found as well.
fn find_across_borders(publisher: &Memory, entropy: &mut dyn Entropy) {
    let marker: [u8; 32] = random_array(entropy);
    let mut search = Search::new();
    search.add("marker", &marker);
    let mut haystack = vec![1; 1 << 20];
    let starts: Vec<usize> = (1..16).map(|n| n * 64 * 1024 - 2 * n).collect();
    for start in &starts {
        haystack[*start..][..marker.len()].copy_from_slice(&marker);
    }
    let start = haystack.as_ptr().addr() as u64;
    let mut found = Found::new();
    let range = (start, start + haystack.len() as u64);
    assert_eq!(publisher.search_within(range, &search, &mut found), haystack.len() as u64);
    assert_eq!(found, [("marker".to_owned(), starts.len())].into());
}

/// How large a core this process may leave, as its limits say; it sets none of its own.
fn core_limit(daemon: &Daemon) -> String {
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.pid().as_raw_nonzero()));
    let limits = limits.unwrap_or_default();
    limits.lines().find(|line| line.starts_with("Max core file size")).unwrap_or("not shown").to_owned()
}
