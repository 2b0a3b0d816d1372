//! Topics that are due for rotation: when, who is told, and when that ends.

use super::harness::{Harness, Peer, brief};
use crate::base::ids::{Fingerprint, TopicHandle};
use crate::base::names::TopicFilter;
use crate::chain::{Chain, Role};
use crate::crypto::cert::Role as CertificateRole;
use crate::crypto::cert::testing::key;
use crate::wire::frame::{BrokerFrame, ClientFrame};
use crate::wire::values::Retention;

const X: &str = "home/x";

fn fingerprint(who: &str) -> Fingerprint {
    key(who).public().fingerprint()
}

/// Alice's topic with bob and carol in it; bob was here, alice and carol are.
fn circle() -> (Harness, Peer, Peer, TopicHandle, Chain) {
    let mut h = Harness::new();
    let (mut alice, carol) = (h.connect("alice"), h.connect("carol"));
    let (topic, chain) = h.create_chain(&mut alice, X, &["bob", "carol"], Retention::default());
    (h, alice, carol, topic, chain)
}

fn follow(h: &mut Harness, peer: &mut Peer) {
    let frame = ClientFrame::ListRequests {
        request: peer.request(),
        follow: true,
        filter: TopicFilter::parse("#").expect("a good filter"),
        after: String::new(),
        after_client: Fingerprint([0; 32]),
    };
    let frames = h.ask(peer, frame);
    peer.frames.extend(frames.into_iter().filter(|frame| !matches!(frame, BrokerFrame::Requests { .. })));
}

fn told(h: &mut Harness, peer: &mut Peer) -> Vec<String> {
    h.read(peer);
    let frames = std::mem::take(&mut peer.frames);
    brief(&frames).into_iter().filter(|line| line.starts_with("rotate")).collect()
}

#[test]
fn a_revoked_member_makes_its_topics_due_until_it_is_removed() {
    let (mut h, mut alice, mut carol, topic, mut chain) = circle();
    follow(&mut h, &mut alice);
    follow(&mut h, &mut carol);
    assert_eq!(told(&mut h, &mut alice), [""; 0]);
    h.revoke(1, &["bob"]);
    assert_eq!(told(&mut h, &mut alice), ["rotate due home/x"]);
    assert_eq!(told(&mut h, &mut carol), [""; 0], "a plain member is not told");
    assert!(h.listed(&mut alice, X).rotate_due);
    assert!(!h.listed(&mut carol, X).rotate_due);
    // One that comes later is told at once; one that becomes an admin too.
    let mut late = h.connect("alice");
    follow(&mut h, &mut late);
    assert_eq!(told(&mut h, &mut late), ["rotate due home/x"]);
    h.amend(&mut alice, topic, &mut chain, |b| {
        b.change(fingerprint("carol"), Role::Admin);
    });
    assert_eq!(told(&mut h, &mut carol), ["rotate due home/x"]);
    assert!(h.listed(&mut carol, X).rotate_due);
    h.amend(&mut alice, topic, &mut chain, |b| {
        b.remove(fingerprint("bob"));
    });
    assert!(!h.listed(&mut alice, X).rotate_due);
    assert_eq!(h.stat(&mut alice, "topics due for rotation"), 0);
    let mut later = h.connect("alice");
    follow(&mut h, &mut later);
    assert_eq!(told(&mut h, &mut later), [""; 0]);
}

#[test]
fn the_owners_own_revocation_makes_nothing_due() {
    let (mut h, alice, mut carol, _, _) = circle();
    h.revoke(1, &["alice"]);
    h.settle();
    assert!(h.closed.is_empty() || h.closed == [alice.id]);
    assert_eq!(h.stat(&mut carol, "topics due for rotation"), 0);
}

#[test]
fn a_new_certificate_for_the_same_key_ends_it() {
    let (mut h, mut alice, _carol, _, _) = circle();
    h.revoke(1, &["bob"]);
    assert!(h.listed_after_news(&mut alice, X));
    // Issued again under another serial number; the name's letters give the number in this world.
    let again = h.reissued("bob");
    h.broker.know_client(again.der(), h.now).expect("a good certificate");
    h.settle();
    assert!(!h.listed_after_news(&mut alice, X));
    assert_eq!(h.stat(&mut alice, "known clients revoked"), 0);
}

#[test]
fn a_list_that_takes_a_revocation_back_ends_it_everywhere() {
    let mut h = Harness::new();
    let mut alice = h.connect("alice");
    for n in 0..200 {
        let members: &[&str] = if n % 3 == 0 { &["bob", "carol"] } else { &["carol"] };
        h.create(&mut alice, &format!("t/{n:03}"), members, Retention::default());
    }
    h.revoke(1, &["bob"]);
    h.read(&mut alice);
    alice.frames.clear();
    assert_eq!(h.stat(&mut alice, "topics due for rotation"), 67);
    follow(&mut h, &mut alice);
    let lines = told(&mut h, &mut alice);
    assert_eq!(lines.len(), 67);
    h.revoke(2, &["bob", "carol"]);
    assert_eq!(told(&mut h, &mut alice).len(), 133, "only those that were not due before");
    assert_eq!(h.stat(&mut alice, "topics due for rotation"), 200);
    h.revoke(3, &[]);
    h.read(&mut alice);
    alice.frames.clear();
    assert_eq!(h.stat(&mut alice, "topics due for rotation"), 0);
}

#[test]
fn a_deleted_topic_is_due_no_more() {
    let (mut h, mut alice, _carol, _, _) = circle();
    h.revoke(1, &["bob"]);
    h.read(&mut alice);
    alice.frames.clear();
    assert_eq!(h.stat(&mut alice, "topics due for rotation"), 1);
    let name = crate::base::names::TopicName::parse(X).expect("a good topic");
    let delete = ClientFrame::Delete { request: alice.request(), name };
    h.ask(&mut alice, delete);
    assert_eq!(h.stat(&mut alice, "topics due for rotation"), 0);
    follow(&mut h, &mut alice);
    assert_eq!(told(&mut h, &mut alice), [""; 0]);
}

impl Harness {
    /// Whether the topic is due, as the client is told.
    fn listed_after_news(&mut self, peer: &mut Peer, topic: &str) -> bool {
        self.read(peer);
        peer.frames.clear();
        self.listed(peer, topic).rotate_due
    }

    /// A second certificate for a client's key, with a serial number of its own.
    fn reissued(&self, who: &str) -> crate::crypto::cert::Certificate {
        use crate::crypto::cert::testing::{Seeded, name};
        let issuer = crate::crypto::cert::issue::Issuer::new(&self.world.ca_key, &self.world.ca_cert_der)
            .expect("the CA's key and certificate");
        let public_key = key(who).public();
        let name = name(who);
        let subscriber = crate::crypto::cert::issue::Subscriber {
            name: &name,
            role: CertificateRole::Client,
            hosts: &[],
            public_key: &public_key,
        };
        issuer.issue(&subscriber, self.now.wall, 30, &mut Seeded::new(99)).expect("a good certificate")
    }
}
