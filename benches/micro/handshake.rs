//! The handshake: both sides' work for a whole one, and its expensive steps one by one, with RSA-2048.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput};
use sealmq::crypto::cert::testing::{Seeded, World, world};
use sealmq::crypto::cert::{Certificate, Role, Trust};
use sealmq::crypto::dh::Ephemeral;
use sealmq::crypto::envelope;
use sealmq::crypto::key::PrivateKey;
use sealmq::crypto::secret::Secret32;
use sealmq::crypto::sign::{Context, sign_pss, verify_pss};
use sealmq::session::broker::{self, AwaitingCert, Handshake};
use sealmq::session::client::{self, ClientHandshake};
use sealmq::session::schedule::{Agreed, Th1, Th2, Th3};
use sealmq::session::sign_batch;
use sealmq::wire::handshake::LENGTH_BYTES;

const LABEL: &[u8] = b"bench";

pub fn bench(criterion: &mut Criterion) {
    let world = world();
    whole(criterion, &world);
    certificates(criterion, &world);
    signatures(criterion, &world);
    secrets(criterion, &world);
}

/// From the ClientHello to the keys of both directions; only one side's share of the time is counted. The certificates
/// are known from earlier handshakes, and each hello has a signature of its own.
fn whole(criterion: &mut Criterion, world: &World) {
    let mut pair = Pair::new(world);
    let mut group = criterion.benchmark_group("handshake");
    group.bench_function("the broker's side, alone in its batch", |bencher| {
        bencher.iter_custom(|times| (0..times).map(|_| pair.shake_hands().0).sum());
    });
    group.bench_function("the client's side", |bencher| {
        bencher.iter_custom(|times| (0..times).map(|_| pair.shake_hands().1).sum());
    });
    group.finish();
}

fn certificates(criterion: &mut Criterion, world: &World) {
    let der = world.client("alice").1;
    let mut group = criterion.benchmark_group("handshake");
    // What a trust has seen it remembers, so each has one of its own.
    let fresh = || Trust::from_der(&world.ca_cert_der).expect("the CA is good");
    let verify =
        |trust: &Trust| trust.verify(black_box(&der), Role::Client, world.now()).expect("it is good");
    group.bench_function("a certificate, first seen", |bencher| {
        bencher.iter_batched_ref(fresh, |trust| verify(trust), BatchSize::SmallInput);
    });
    // It is remembered for as long as somebody holds it: a session of the same client, as a rule.
    let trust = fresh();
    let held = verify(&trust);
    group.bench_function("a certificate, held by another session", |bencher| bencher.iter(|| verify(&trust)));
    drop(held);
    group.finish();
}

fn signatures(criterion: &mut Criterion, world: &World) {
    let (key, hash) = (world.client("alice").0, [4; 32]);
    let (public, mut entropy) = (key.public(), Seeded::new(11));
    let signature = sign_pss(&key, Context::ClientAuth, &hash, &mut entropy).expect("a sound machine");
    let mut group = criterion.benchmark_group("handshake");
    group.bench_function("sign", |bencher| {
        bencher.iter(|| sign_pss(&key, Context::ClientAuth, black_box(&hash), &mut entropy));
    });
    group.bench_function("check a signature", |bencher| {
        bencher.iter(|| verify_pss(&public, Context::ClientAuth, black_box(&hash), &signature));
    });
    for hellos in [1, 100] {
        let batch: Vec<Th1> = (0..hellos).map(|n| Th1::new(&[n], &[1; 32], &[2; 32], b"DER")).collect();
        group.throughput(Throughput::Elements(hellos.into()));
        group.bench_function(format!("sign a batch of {hellos}"), |bencher| {
            bencher.iter(|| sign_batch(black_box(&batch), &key, &mut entropy));
        });
    }
    group.finish();
}

fn secrets(criterion: &mut Criterion, world: &World) {
    let (key, mut entropy) = (world.client("alice").0, Seeded::new(12));
    let (public, secret) = (key.public(), Secret32::new([8; 32]));
    let mut group = criterion.benchmark_group("handshake");
    let sealed = envelope::seal(&public, LABEL, &secret, &mut entropy).expect("a sound machine");
    group.bench_function("envelope, seal", |bencher| {
        bencher.iter(|| envelope::seal(&public, LABEL, black_box(&secret), &mut entropy));
    });
    group.bench_function("envelope, open", |bencher| {
        bencher.iter(|| envelope::open(&key, LABEL, black_box(&sealed), &mut entropy));
    });
    let peer = Ephemeral::generate(&mut entropy).public();
    group.bench_function("X25519, a key and its agreement", |bencher| {
        bencher.iter(|| {
            let own = Ephemeral::generate(&mut entropy);
            (own.public(), own.agree(black_box(&peer)).is_ok())
        });
    });
    let (der, signature) = (vec![5; 1000], vec![6; 256]);
    group.bench_function("key schedule, of one side", |bencher| {
        bencher.iter(|| {
            let th1 = Th1::new(black_box(&[1; 66]), &[2; 32], &[3; 32], &der);
            let th2 = Th2::new(&th1, &[4; 4], &signature, &der);
            let agreed = Agreed::new(Secret32::new([7; 32]), th1);
            let tokens = (agreed.auth_key(), agreed.envelope_key(&th2));
            let master = agreed.master(&secret, Th3::new(&th2, &signature, &sealed));
            (tokens, master.ready_key(), master.session_keys().into_broker())
        });
    });
    group.finish();
}

/// A client and a broker who know each other.
struct Pair<'a> {
    world: &'a World,
    broker: (PrivateKey, Certificate),
    client: (PrivateKey, Certificate),
    entropy: Seeded,
}

impl Pair<'_> {
    fn new(world: &World) -> Pair<'_> {
        let (key, der) = world.client("alice");
        let client = (key, world.verified(&der, Role::Client));
        let broker = (world.broker.0.clone(), world.verified(&world.broker.1, Role::Broker));
        Pair { world, broker, client, entropy: Seeded::new(13) }
    }

    /// How long a whole handshake took each, the broker first.
    fn shake_hands(&mut self) -> (Duration, Duration) {
        let (mut broker, mut client) = (Stopwatch::default(), Stopwatch::default());
        let (awaiting, hello) = client.time(|| ClientHandshake::start(&mut self.entropy));
        let (state, challenge) = broker.time(|| self.challenge(&hello));
        let (awaiting, auth) = client.time(|| match self.client_step(awaiting, &challenge) {
            client::Step::Handshake(next, bytes) => (next, bytes),
            client::Step::Active(..) => panic!("the secret is still to come"),
        });
        let (state, secret) = broker.time(|| {
            let broker::Step::Handshake(Handshake::Verified(verified)) = self.broker_step(state, &auth)
            else {
                panic!("the client has proved who it is")
            };
            let (keyed, bytes) = verified.key(self.world.now(), &mut self.entropy).expect("a sound machine");
            (Handshake::Keyed(keyed), bytes)
        });
        let (active, ready) = client.time(|| match self.client_step(awaiting, &secret) {
            client::Step::Active(active, bytes, _) => (active, bytes),
            client::Step::Handshake(..) => panic!("nothing more is to come"),
        });
        let done = broker.time(|| self.broker_step(state, &ready));
        assert!(matches!(done, broker::Step::Active(_)));
        black_box(active);
        (broker.0, client.0)
    }

    /// The broker's answer to a hello, signed for it alone.
    fn challenge(&mut self, hello: &[u8]) -> (Handshake, Vec<u8>) {
        let step = self.broker_step(Handshake::new(), hello);
        let broker::Step::Handshake(Handshake::AwaitingCert(AwaitingCert::Queued(queued))) = step else {
            panic!("a hello waits for a signature")
        };
        let batch = sign_batch(&[queued.th1()], &self.broker.0, &mut self.entropy).expect("a sound machine");
        let (challenged, bytes) = queued.challenge(&batch, 0);
        (Handshake::AwaitingCert(AwaitingCert::Challenged(challenged)), bytes)
    }

    fn broker_step(&mut self, state: Handshake, message: &[u8]) -> broker::Step {
        let (certificate, trust, now) = (&self.broker.1, &self.world.trust, self.world.now());
        let with = broker::Surroundings { certificate, trust, now, entropy: &mut self.entropy };
        let message = &message[LENGTH_BYTES..];
        state.handle(message[0], &message[1..], with).expect("the client is polite")
    }

    fn client_step(&mut self, state: ClientHandshake, message: &[u8]) -> client::Step {
        let with = client::Surroundings {
            trust: &self.world.trust,
            certificate: &self.client.1,
            key: &self.client.0,
            host: Some("localhost"),
            now: self.world.now(),
            entropy: &mut self.entropy,
        };
        let message = &message[LENGTH_BYTES..];
        state.handle(message[0], &message[1..], with).expect("the broker is polite")
    }
}

/// Time of one side, in pieces.
#[derive(Default)]
struct Stopwatch(Duration);

impl Stopwatch {
    fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = work();
        self.0 += began.elapsed();
        done
    }
}
