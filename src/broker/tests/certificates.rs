//! Certificates that chains need: recovery keys, the revoked, and clients for whom there is no room.

use std::slice::from_ref;

use super::harness::{Harness, Peer, brief};
use super::membership::{alice_and_bob, fingerprint, handle};
use crate::base::ids::Fingerprint;
use crate::base::limits::RECOVERY_CERTIFICATES_MAX;
use crate::base::names::Name;
use crate::broker::BrokerConfig;
use crate::chain::{Chain, DeltaBuilder, Role};
use crate::crypto::cert::Role as CertificateRole;
use crate::crypto::cert::testing::name;
use crate::store::Memory;
use crate::wire::frame::{BrokerFrame, ClientFrame};
use crate::wire::values::Retention;

#[test]
fn certificates_are_given_in_the_order_asked_revoked_ones_too() {
    let mut h = Harness::new();
    let (mut alice, bob) = (h.connect("alice"), h.connect("bob"));
    h.create(&mut alice, "a", &["bob"], Retention::default());
    h.revoke(1, &["bob"]);
    h.read(&mut alice);
    alice.frames.clear();
    let mut get = |h: &mut Harness, fingerprints: Vec<Fingerprint>| {
        let request = alice.request();
        h.ask(&mut alice, ClientFrame::GetCertificates { request, fingerprints })
    };
    let asked = vec![fingerprint("carol"), fingerprint("bob"), Fingerprint([9; 32]), fingerprint("alice")];
    let frames = get(&mut h, asked);
    let [BrokerFrame::Clients { more: false, clients, .. }] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!(clients.len(), 2);
    assert_eq!(clients[0].certificate, bob.certificate.der());
    let frames = get(&mut h, vec![fingerprint("bob"); 200]);
    let [BrokerFrame::Clients { more: true, clients, .. }] = &frames[..] else {
        panic!("a page that goes on")
    };
    assert!((20..199).contains(&clients.len()), "{}", clients.len());
    assert_eq!(brief(&get(&mut h, vec![fingerprint("bob"); 1025])), ["close ProtocolError"]);
}

/// The frames that create `home/x` with carol's key as a recovery member.
fn with_recovery(h: &mut Harness, owner: &mut Peer, as_name: &str) -> Vec<ClientFrame> {
    let (mut frames, _) = h.creation(owner, "home/x", &[], Retention::default());
    let chain = Chain::begin(genesis_of(&frames), &owner.key.public()).expect("a good genesis");
    let mut builder = DeltaBuilder::new(&chain, owner.certificate.fingerprint(), h.now.wall);
    builder.add(fingerprint("carol"), name(as_name), Role::Recovery).new_epoch([9; 32], Vec::new());
    let wraps: Vec<Vec<u8>> =
        builder.recipients().expect("good members").iter().map(|to| to.0.repeat(8)).collect();
    let record = builder.sign(&wraps, &owner.key, &mut h.seeded()).expect("a good record");
    frames[0] = ClientFrame::Wraps { wraps };
    if let ClientFrame::Create { delta, .. } = &mut frames[1] {
        *delta = record;
    }
    frames
}

fn genesis_of(frames: &[ClientFrame]) -> &[u8] {
    match &frames[1] {
        ClientFrame::Create { genesis, .. } => genesis,
        other => panic!("no creation but {other:?}"),
    }
}

#[test]
fn a_recovery_key_needs_a_good_certificate_of_its_own() {
    let mut h = Harness::new();
    let mut alice = h.connect("alice");
    let carol = h.world.client("carol").1;
    let mut forged = carol.clone();
    *forged.last_mut().expect("a signature") ^= 1;
    let broker = h.world.broker.1.clone();
    let bob = h.world.client("bob").1;
    let cases: [(&str, Vec<Vec<u8>>); 6] = [
        ("carol", vec![]),
        ("carol", vec![forged]),
        ("carol", vec![broker]),
        ("carol", vec![vec![]]),
        ("carol", vec![bob]),
        ("dave", vec![carol.clone()]),
    ];
    for (n, (as_name, staged)) in cases.into_iter().enumerate() {
        let frames = with_recovery(&mut h, &mut alice, as_name);
        h.advance(std::time::Duration::from_millis(20));
        for certificate in staged {
            h.send(&mut alice, &[ClientFrame::RecoveryCertificate { certificate }], &[]);
        }
        h.send(&mut alice, &frames, &[]);
        h.read(&mut alice);
        assert_eq!(brief(&std::mem::take(&mut alice.frames)), ["refused BadRecord"], "case {n}");
    }
    assert_eq!(h.stat(&mut alice, "known clients"), 1, "nothing of what was refused is kept");
    // A refused record has used up what was staged: with nothing new the good one fails too.
    let frames = with_recovery(&mut h, &mut alice, "carol");
    h.send(&mut alice, &[ClientFrame::RecoveryCertificate { certificate: carol.clone() }], &[]);
    h.send(&mut alice, &[frames[1].clone()], &[]);
    h.advance(std::time::Duration::from_millis(20));
    h.read(&mut alice);
    assert_eq!(brief(&std::mem::take(&mut alice.frames)), ["refused BadWraps"]);
    h.send(&mut alice, &frames, &[]);
    h.advance(std::time::Duration::from_millis(20));
    h.read(&mut alice);
    assert_eq!(brief(&std::mem::take(&mut alice.frames)), ["refused BadRecord"]);
    h.send(&mut alice, &[ClientFrame::RecoveryCertificate { certificate: carol.clone() }], &[]);
    h.send(&mut alice, &frames, &[]);
    h.advance(std::time::Duration::from_millis(20));
    h.read(&mut alice);
    handle(&alice.frames);
    alice.frames.clear();
    let request = alice.request();
    let get = ClientFrame::GetCertificates { request, fingerprints: vec![fingerprint("carol")] };
    let frames = h.ask(&mut alice, get);
    assert!(matches!(&frames[..], [BrokerFrame::Clients { clients, .. }] if clients[0].certificate == carol));
}

#[test]
fn a_recovery_key_is_not_offered_until_it_is_a_client_too() {
    let mut h = Harness::new();
    let mut alice = h.connect("alice");
    let carol = h.world.client("carol").1;
    let frames = with_recovery(&mut h, &mut alice, "carol");
    h.advance(std::time::Duration::from_millis(20));
    h.send(&mut alice, &[ClientFrame::RecoveryCertificate { certificate: carol.clone() }], &[]);
    h.send(&mut alice, &frames, &[]);
    h.read(&mut alice);
    handle(&std::mem::take(&mut alice.frames));

    let list = |h: &mut Harness, alice: &mut Peer, names: Vec<Name>| {
        let request = alice.request();
        let list = ClientFrame::ListClients { request, after: Fingerprint([0; 32]), names };
        certificates_in(&h.ask(alice, list))
    };
    let alices = alice.certificate.der().to_vec();
    assert_eq!(list(&mut h, &mut alice, vec![]), from_ref(&alices));
    assert_eq!(list(&mut h, &mut alice, vec![name("carol")]), [[0_u8; 0]; 0], "nor by its name");
    let get =
        ClientFrame::GetCertificates { request: alice.request(), fingerprints: vec![fingerprint("carol")] };
    assert_eq!(certificates_in(&h.ask(&mut alice, get)), from_ref(&carol), "the chain needs it");

    // A key that does connect is a client's like any other.
    h.connect("carol");
    assert_eq!(list(&mut h, &mut alice, vec![name("carol")]), from_ref(&carol));
    let mut both = vec![alices, carol];
    both.sort_by_key(|der| h.world.verified(der, CertificateRole::Client).fingerprint());
    assert_eq!(list(&mut h, &mut alice, vec![]), both);
}

fn certificates_in(frames: &[BrokerFrame]) -> Vec<Vec<u8>> {
    let [BrokerFrame::Clients { more: false, clients, .. }] = frames else { panic!("{frames:?}") };
    clients.iter().map(|client| client.certificate.clone()).collect()
}

#[test]
fn a_revoked_or_ended_certificate_is_no_recovery_key() {
    let mut h = Harness::new();
    let mut alice = h.connect("alice");
    let carol = h.world.client("carol").1;
    h.revoke(1, &["carol"]);
    h.read(&mut alice);
    alice.frames.clear();
    let create = |h: &mut Harness, alice: &mut Peer| {
        let frames = with_recovery(h, alice, "carol");
        h.advance(std::time::Duration::from_millis(20));
        h.send(alice, &[ClientFrame::RecoveryCertificate { certificate: carol.clone() }], &[]);
        h.send(alice, &frames, &[]);
        h.read(alice);
        brief(&std::mem::take(&mut alice.frames))
    };
    assert_eq!(create(&mut h, &mut alice), ["refused BadRecord"]);
    h.revoke(2, &[]);
    h.read(&mut alice);
    alice.frames.clear();
    assert_eq!(
        create(&mut h, &mut alice),
        ["topic 2..2 None", "record 0 wrap 0", "record 1 wrap 256", "caught up 2"]
    );
}

#[test]
fn no_more_recovery_certificates_are_staged_than_a_record_may_need() {
    let mut h = Harness::new();
    let mut alice = h.connect("alice");
    let certificate = h.world.client("carol").1;
    let frame = ClientFrame::RecoveryCertificate { certificate };
    let frames = vec![frame; RECOVERY_CERTIFICATES_MAX + 1];
    h.send(&mut alice, &frames[1..], &[]);
    h.read(&mut alice);
    assert_eq!(brief(&alice.frames), [""; 0]);
    assert_eq!(brief(&h.ask(&mut alice, frames[0].clone())), ["close ProtocolError"]);
    let mut bob = h.connect("bob");
    let large = ClientFrame::RecoveryCertificate { certificate: vec![0; 5000] };
    assert_eq!(brief(&h.ask(&mut bob, large)), ["close ProtocolError"]);
}

#[test]
fn nobody_whose_certificate_was_revoked_is_added() {
    let (mut h, mut alice, _bob, topic, _, mut chain) = alice_and_bob();
    h.connect("carol");
    h.revoke(1, &["carol"]);
    h.read(&mut alice);
    alice.frames.clear();
    let mut add = |h: &mut Harness, who: &str, as_name: &str| {
        h.amend(&mut alice, topic, &mut chain, |b| {
            b.add(fingerprint(who), name(as_name), Role::Member);
        })
    };
    assert_eq!(add(&mut h, "carol", "carol"), ["refused BadRecord"]);
    h.revoke(2, &[]);
    assert_eq!(add(&mut h, "carol", "dave"), ["refused BadRecord"], "by another name");
    assert_eq!(add(&mut h, "other-ca", "eve"), ["refused BadRecord"], "known to nobody");
    assert_eq!(add(&mut h, "carol", "carol"), ["done"]);
}

#[test]
fn a_newcomer_that_cannot_be_remembered_is_told_so() {
    let config = BrokerConfig { known_clients_max: 2, ..BrokerConfig::default() };
    let mut h = Harness::with(config, Box::new(Memory::new(64 << 20)));
    let (mut alice, _bob) = (h.connect("alice"), h.connect("bob"));
    let (_, chain) = h.create_chain(&mut alice, "home/x", &["bob"], Retention::default());
    let mut carol = h.connect("carol");
    let (_, frames) = h.join(&mut carol, "home/x", chain.topic());
    assert!(matches!(&frames[..], [BrokerFrame::Refused { detail: 2, .. }]), "{frames:?}");
    assert_eq!(brief(&frames), ["refused Limit"]);
    let (frames, _) = h.creation(&mut carol, "home/y", &[], Retention::default());
    h.send(&mut carol, &frames, &[]);
    h.read(&mut carol);
    assert_eq!(brief(&std::mem::take(&mut carol.frames)), ["refused Limit"]);
    // A recovery key that is new needs a place as well.
    let frames = with_recovery(&mut h, &mut alice, "carol");
    let certificate = carol.certificate.der().to_vec();
    h.advance(std::time::Duration::from_millis(20));
    h.send(&mut alice, &[ClientFrame::RecoveryCertificate { certificate }], &[]);
    h.send(&mut alice, &frames, &[]);
    h.read(&mut alice);
    assert_eq!(brief(&alice.frames), ["refused Limit"]);
    assert_eq!(h.stat(&mut carol, "known clients"), 2);
}
