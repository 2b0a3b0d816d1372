//! Every limit, in one place, with where its number comes from.
//!
//! Those that a configuration may change are the defaults; those that end in `_MAX`
//! and belong to the format are what both sides hold each other to.

use std::time::Duration;

// ---- Names ----

/// A client's name; fits a common name (RFC 5280, appendix A.1: ub-common-name = 64).
pub const CLIENT_NAME_BYTES_MAX: usize = 64;
/// A topic's name or a filter.
pub const TOPIC_NAME_BYTES_MAX: usize = 256;

// ---- Certificates ----

/// A certificate in DER: RSA-4096 key and signature take some 1,700 bytes, the rest is names.
pub const CERT_BYTES_MAX: usize = 4096;
/// A CRL in DER: some 25,000 revoked serials.
pub const CRL_BYTES_MAX: usize = 1024 * 1024;
/// How far two hosts' clocks may differ when a validity is judged.
pub const CLOCK_SKEW: Duration = Duration::from_secs(300);
/// Longest lifetime of a leaf certificate.
pub const LEAF_LIFETIME_MAX: Duration = Duration::from_secs(398 * 86_400);
/// RSA moduli, in bits.
pub const RSA_BITS_MIN: usize = 2048;
pub const RSA_BITS_MAX: usize = 4096;
/// An RSA signature or ciphertext of the largest key, in bytes.
pub const RSA_BYTES_MAX: usize = RSA_BITS_MAX / 8;

// ---- Handshake ----

/// A handshake message without its header: a certificate, a signature and a path of eight hashes fit well.
pub const HANDSHAKE_BYTES_MAX: usize = 8 * 1024;
/// From accept to Active.
pub const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// Hellos that share one signature; the Merkle path is then eight hashes.
pub const HELLO_BATCH_MAX: usize = 256;
/// Connections not yet Active; above, the listener is left unread.
pub const PENDING_CONNECTIONS_MAX: usize = 256;
/// Connections of one address once [`ADDRESS_LIMIT_FROM`] are open (IPv6: of one /64).
pub const ADDRESS_CONNECTIONS_MAX: usize = 32;
/// Open connections from which on [`ADDRESS_CONNECTIONS_MAX`] holds.
pub const ADDRESS_LIMIT_FROM: usize = 128;

/// RSA budget, in units of one RSA-2048 public operation (about 0.1 ms).
pub const RSA_BUDGET_CAPACITY: u32 = 60;
pub const RSA_BUDGET_PER_MS: u32 = 3;
pub const RSA_PUBLIC_COST: u32 = 1;
pub const RSA_SIGN_COST: u32 = 25;

// ---- Records ----

/// A session token, with all that Fernet adds.
pub const TOKEN_BYTES_MAX: usize = 64 * 1024;
/// Bytes of bodies that follow one token.
pub const RECORD_BODIES_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Records under one key; then the key is derived anew.
pub const RECORDS_PER_KEY: u64 = 1 << 20;

// ---- Messages and topics ----

/// A message's content, before it is sealed.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// A sealed message body: content, its binding, Fernet's header, padding and MAC.
pub const BODY_BYTES_MAX: usize = MESSAGE_BYTES_MAX + 512;
/// A membership record in its encoding.
pub const CHAIN_RECORD_BYTES_MAX: usize = 40 * 1024;
/// The reason of a denial, in bytes.
pub const DENIAL_BYTES_MAX: usize = 256;
/// Members added by one record.
pub const RECORD_MEMBERS_MAX: usize = 256;
/// Members of a topic.
pub const MEMBERS_MAX: usize = 1024;
/// Topics one client may create, and topics in all.
pub const TOPICS_PER_CLIENT_MAX: usize = 1024;
pub const TOPICS_MAX: usize = 100_000;
/// Retention of a topic unless its creator says otherwise.
pub const RETAIN_COUNT: u64 = 10_000;
pub const RETAIN_BYTES: u64 = 64 * 1024 * 1024;
/// How long a publisher id is remembered after its last publish.
pub const PUBLISHER_MEMORY: Duration = Duration::from_secs(24 * 3600);
/// Publisher ids remembered in all topics together: some 150 bytes each, and 24 for each run of
/// offsets remembered, of which two publishers that alternate have up to 2,049.
pub const PUBLISHERS_MAX: usize = 262_144;
/// Hashes of delegations that need not be verified again, some 96 bytes each.
pub const DELEGATIONS_REMEMBERED_MAX: usize = 16_384;
/// Certificates that need not be held against the profile again: as many as there are known clients, some
/// 400 bytes each beside what whoever holds them has.
pub const CERTIFICATES_REMEMBERED_MAX: usize = 16_384;
/// Requests to join one topic, of one client, and in all: each its signed bytes (900 at most), two
/// topic names and some 250 bytes of places in tables.
pub const REQUESTS_PER_TOPIC_MAX: usize = 256;
pub const REQUESTS_PER_CLIENT_MAX: usize = 1024;
pub const REQUESTS_MAX: usize = 16_384;
/// What all requests may come to.
pub const REQUESTS_BYTES_MAX: usize = 28 * 1024 * 1024;
/// How long a request waits for an answer.
pub const REQUEST_LIFETIME: Duration = Duration::from_secs(30 * 86_400);
/// Certificates of recovery keys that come with one record.
pub const RECOVERY_CERTIFICATES_MAX: usize = 8;
/// Publisher ids that one session may speak of.
pub const PUBLISHER_SLOTS_MAX: usize = 16;
/// Publishes of one connection that are not answered yet.
pub const UNANSWERED_PUBLISHES_MAX: usize = 1024;

// ---- Connections ----

pub const CONNECTIONS_MAX: usize = 10_000;
/// Certificates of clients that the broker remembers, some 1 KiB each.
pub const KNOWN_CLIENTS_MAX: usize = 16_384;
/// Wraps staged for one record: one for each member of a topic.
pub const STAGED_WRAPS_MAX: usize = MEMBERS_MAX;
/// Wraps and recovery certificates staged by all connections together, in bytes.
pub const STAGED_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Cursors of one connection: topics it has opened or subscribed to.
pub const CURSORS_PER_CONNECTION_MAX: usize = 16_384;
/// Filters of one connection.
pub const FILTERS_PER_CONNECTION_MAX: usize = 1024;
/// Answers and events waiting for one connection, in bytes; above, it is not read.
pub const OUTBOX_BYTES_MAX: usize = 256 * 1024;
/// Bytes of bodies of one connection's unanswered publishes; above, it is not read.
pub const UNANSWERED_BYTES_MAX: usize = 8 * 1024 * 1024;
/// What all connections together may hold of each of: answers, bodies on their way to the
/// store, a record on its way out, entries read from the store. One connection's share shrinks
/// as they grow in number, down to [`SHARE_BYTES_MIN`].
pub const SHARED_POOL_BYTES: usize = 64 * 1024 * 1024;
/// Enough for a record of small messages.
pub const SHARE_BYTES_MIN: usize = 8 * 1024;
/// Cursors of one connection for which entries are read from the store at a time.
pub const READS_PER_CONNECTION_MAX: usize = 4;
/// Entries read from the store for all cursors together. A read gives one entry at least, however
/// large, so that the shares alone do not bound them.
pub const FETCHED_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Silence after which a side pings; twice that, and the peer is dead.
pub const KEEPALIVE: Duration = Duration::from_secs(60);
/// RAM for the newest entries of all topics together.
pub const TAIL_BYTES_MAX: usize = 32 * 1024 * 1024;
/// RAM for records that are only partly received, all connections together.
pub const INBOX_POOL_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of a connection's input that do not count against [`INBOX_POOL_BYTES_MAX`].
pub const INBOX_FREE_BYTES: usize = 4 * 1024;
/// A record begun must be whole within this time.
pub const RECORD_TIME_MAX: Duration = Duration::from_secs(30);

// How the numbers relate. A change that breaks one of these does not compile.
const _: () = {
    // The largest handshake message: certificate, Merkle path, signature, fixed fields.
    assert!(CERT_BYTES_MAX + 8 * 32 + RSA_BYTES_MAX + 256 < HANDSHAKE_BYTES_MAX);
    assert!(1 << 8 == HELLO_BATCH_MAX);
    assert!(RSA_SIGN_COST <= RSA_BUDGET_CAPACITY);
    assert!(BODY_BYTES_MAX <= RECORD_BODIES_BYTES_MAX);
    // A record frame: the record, one wrap, one certificate, and the frame's own fields.
    assert!(CHAIN_RECORD_BYTES_MAX + RSA_BYTES_MAX + CERT_BYTES_MAX + 1024 < TOKEN_BYTES_MAX);
    // With all connections there are, the shares of a pool stay near the pool.
    assert!(CONNECTIONS_MAX * SHARE_BYTES_MIN <= 2 * SHARED_POOL_BYTES);
    // Requests to join: the signed bytes, two names, places in the tables.
    assert!(REQUESTS_MAX * (900 + 2 * TOPIC_NAME_BYTES_MAX + 250) <= REQUESTS_BYTES_MAX);
    assert!(REQUESTS_PER_TOPIC_MAX < u16::MAX as usize);
    // A rotation names a hash for each member's wrap.
    assert!(MEMBERS_MAX * 32 + 4096 < CHAIN_RECORD_BYTES_MAX);
    assert!(
        RECORD_MEMBERS_MAX * (CLIENT_NAME_BYTES_MAX + 1 + 32 + 32 + 1) + 6000 < CHAIN_RECORD_BYTES_MAX + 6000
    );
};
