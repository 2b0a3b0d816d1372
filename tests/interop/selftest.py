"""Tests the client against itself and against the fake broker: `python3 selftest.py`."""

from __future__ import annotations

import hashlib
import os
import threading
import unittest

import fake_broker
import minica
import sealmq_client as mq
from cryptography.x509.oid import ExtendedKeyUsageOID

CA = minica.make_ca()
BROKER = minica.issue(CA, "broker", ["127.0.0.1", "localhost"])
ALICE, BOB, CAROL = (minica.issue(CA, name) for name in ("alice", "bob", "carol"))


class Primitives(unittest.TestCase):
    def test_h_puts_lengths_in_front(self) -> None:
        expected = hashlib.sha256(b"\0\0\0\2ab\0\0\0\0\0\0\0\1c").digest()
        self.assertEqual(mq.H(b"ab", b"", b"c"), expected)

    def test_kdf_is_rfc_5869(self) -> None:
        # Extract and expand by hand, for one block.
        prk = mq.mac(b"salt", b"ikm")
        self.assertEqual(mq.kdf(b"ikm", b"salt", "x"), mq.mac(prk, b"sealmq/1 x\1"))

    def test_fernet_specification_vector(self) -> None:
        import base64

        key = base64.urlsafe_b64decode("cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=")
        token = base64.urlsafe_b64decode(
            "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA=="
        )
        self.assertEqual(mq.fernet_open(key, token), b"hello")
        self.assertEqual(mq.fernet_seal(key, b"")[0], 0x80)
        self.assertEqual(len(mq.fernet_seal(key, bytes(16))), 1 + 8 + 16 + 32 + 32)

    def test_pss_and_oaep(self) -> None:
        signature = mq.pss_sign(ALICE.key, "context", bytes(32))
        mq.pss_verify(ALICE.key.public_key(), "context", bytes(32), signature)
        for context, digest, made in (
            ("other", bytes(32), signature),
            ("context", b"\1" * 32, signature),
            ("context", bytes(32), signature[:-1]),
        ):
            with self.assertRaises(mq.AuthenticationError):
                mq.pss_verify(ALICE.key.public_key(), context, digest, made)
        sealed = mq.oaep_seal(ALICE.key.public_key(), b"secret", b"label")
        self.assertEqual(mq.oaep_open(ALICE.key, sealed, b"label"), b"secret")
        with self.assertRaises(mq.AuthenticationError):
            mq.oaep_open(ALICE.key, sealed, b"another")

    def test_merkle_paths(self) -> None:
        def root(leaves: list[bytes]) -> bytes:
            if len(leaves) == 1:
                return leaves[0]
            k = 1
            while k * 2 < len(leaves):
                k *= 2
            return mq.merkle_node(root(leaves[:k]), root(leaves[k:]))

        def beside(index: int, leaves: list[bytes]) -> list[bytes]:
            if len(leaves) == 1:
                return []
            k = 1
            while k * 2 < len(leaves):
                k *= 2
            if index < k:
                return beside(index, leaves[:k]) + [root(leaves[k:])]
            return beside(index - k, leaves[k:]) + [root(leaves[:k])]

        for size in [*range(1, 40), 255, 256]:
            leaves = [mq.merkle_leaf(bytes([i])) for i in range(size)]
            for index in range(size):
                path = beside(index, leaves)
                self.assertEqual(mq.merkle_depth(index, size), len(path))
                self.assertEqual(mq.merkle_root(leaves[index], index, size, path), root(leaves))
                for wrong in (path[:-1], path + [bytes(32)]):
                    if path or wrong:
                        with self.assertRaises(mq.ProtocolError):
                            mq.merkle_root(leaves[index], index, size, wrong)

    def test_certificates(self) -> None:
        client, server = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
        mq.check_certificate(BROKER.der, CA.certificate, server, "localhost")
        mq.check_certificate(BROKER.der, CA.certificate, server, "127.0.0.1")
        mq.check_certificate(ALICE.der, CA.certificate, client)
        bad = [
            (BROKER.der, server, "127.0.0.2"),
            (BROKER.der, server, "example.org"),
            (BROKER.der, client, None),
            (ALICE.der, server, None),
            (ALICE.der, client, "localhost"),
            (minica.issue(None, "alice").der, client, None),
            (minica.issue(minica.make_ca(), "alice").der, client, None),
            (minica.issue(CA, "alice", days=(-2, -1)).der, client, None),
            (minica.issue(CA, "alice", days=(1, 2)).der, client, None),
            (ALICE.der + b"\0", client, None),
            (b"", client, None),
        ]
        for number, (der, usage, host) in enumerate(bad):
            with self.subTest(number), self.assertRaises(mq.AuthenticationError):
                mq.check_certificate(der, CA.certificate, usage, host)


class Records(unittest.TestCase):
    def pair(self, interval: int = mq.REKEY_INTERVAL) -> tuple[mq.Direction, mq.Direction]:
        key = os.urandom(32)
        return mq.Direction(key, interval), mq.Direction(key, interval)

    @staticmethod
    def read(receiver: mq.Direction, data: bytes) -> list[mq.Frame]:
        reader = mq.Reader(data)
        frames = receiver.read(reader.take)
        reader.end()
        return frames

    def test_keys_change(self) -> None:
        sender, receiver = self.pair(interval=4)
        first = sender.key
        keys = []
        for number in range(13):
            frames = self.read(receiver, sender.seal([mq.Frame("Ping", {"number": number})]))
            self.assertEqual(frames[0].number, number)
            keys.append(sender.key)
        # Records 0 to 3 are under the first key, record 4 under the next one.
        self.assertEqual(keys[:3], [first] * 3)
        self.assertEqual(keys[3], mq.kdf(first, mq.u64(4), "next"))
        self.assertEqual(keys[7], mq.kdf(keys[3], mq.u64(8), "next"))
        self.assertEqual(len(set(keys)), 4)

    def test_bodies_inside_and_behind(self) -> None:
        sender, receiver = self.pair()
        frames = []
        for number, size in enumerate((0, 1, mq.INLINE_LIMIT, mq.INLINE_LIMIT + 1, 100_000)):
            body = os.urandom(size)
            fields = {"slot": 1, "topic": 2, "epoch": 3, "counter": number, "body": body}
            frames.append(mq.Frame("Publish", fields))
        found = self.read(receiver, sender.seal(frames))
        self.assertEqual([f.fields for f in found], [f.fields for f in frames])
        record = sender.seal(frames)
        with self.assertRaises(mq.ProtocolError):
            self.read(receiver, record[:-1] + bytes([record[-1] ^ 1]))

    def test_every_frame_survives(self) -> None:
        samples = {
            "u8": 1, "u16": 2, "u32": 3, "u64": 4, "flag": 1, "str8": "é", "str16": "a/b", "bytes16": b"xyz",
            "x16": bytes(16), "x32": bytes(32), "retention": (1, 2, 3), "start": (6, 1, 2), "body": b"body",
            "list_bytes16": [b"", b"a"], "list_str8": ["a", "b"], "list_client": [(b"cert", 5)],
            "list_stat": [("n", 1)], "list_topic_entry": [("t", True, "o", 1, 1, (0, 0, 0), 1, 2, 3, 4, 5, 6)],
        }
        for kind, fields in mq.FRAME_FIELDS.items():
            frame = mq.Frame(kind, {key: samples[what] for what, key in fields})
            encoded, _ = mq.encode_frame(frame)
            self.assertEqual(mq.decode_frames(encoded)[0].fields, frame.fields)
            longer = encoded[:1] + mq.u16(len(encoded) - 2) + encoded[3:] + b"\0"
            with self.assertRaises(mq.ProtocolError):
                mq.decode_frames(longer)
            with self.assertRaises(mq.ProtocolError):
                mq.decode_frames(encoded[:-1])

    def test_order(self) -> None:
        sender, receiver = self.pair()
        record = sender.seal([])
        sender.seal([])
        self.read(receiver, record)
        for wrong in (record, sender.seal([])):
            with self.assertRaises(mq.ProtocolError):
                self.read(receiver, wrong)


class Chains(unittest.TestCase):
    def test_create_and_unwrap(self) -> None:
        members = [(BOB.certificate, mq.ROLE_MEMBER), (CAROL.certificate, mq.ROLE_ADMIN)]
        new = mq.make_topic(ALICE, "a/b", members)
        everyone = sorted((ALICE, BOB, CAROL), key=lambda who: who.fingerprint)
        for who, wrap in zip(everyone, new.wraps):
            chain = mq.Chain("a/b", who, CA.certificate)
            chain.apply(0, new.genesis, b"", ALICE.der)
            chain.apply(1, new.delta, wrap, ALICE.der)
            self.assertEqual(chain.newest.key, new.key)
            self.assertEqual(chain.topic_id, new.topic_id)
            self.assertEqual(chain.members[CAROL.fingerprint].role, mq.ROLE_ADMIN)
            self.assertFalse(chain.was_member(BOB.fingerprint, 1))
            self.assertTrue(chain.was_member(BOB.fingerprint, 2))
        with self.assertRaises(mq.ProtocolError):
            chain.apply(2, new.delta, b"", ALICE.der)

    def test_wrong_records(self) -> None:
        new = mq.make_topic(ALICE, "a/b")
        flipped = bytes([new.delta[-1] ^ 1])
        for genesis, delta, wrap, signer in (
            (new.genesis, new.delta[:-1] + flipped, new.wraps[0], ALICE),
            (new.genesis, new.delta + b"\0", new.wraps[0], ALICE),
            (new.genesis, new.delta, new.wraps[0][:-1] + b"\0", ALICE),
            (new.genesis, new.delta, new.wraps[0], BOB),
            (mq.make_topic(ALICE, "a/b").genesis, new.delta, new.wraps[0], ALICE),
            (mq.make_topic(ALICE, "a/c").genesis, new.delta, new.wraps[0], ALICE),
        ):
            chain = mq.Chain("a/b", ALICE, CA.certificate)
            with self.assertRaises(mq.ProtocolError):
                chain.apply(0, genesis, b"", ALICE.der)
                chain.apply(1, delta, wrap, signer.der)

    def test_next_epoch_gives_the_one_before(self) -> None:
        new = mq.make_topic(ALICE, "a/b")
        chain = mq.Chain("a/b", ALICE, CA.certificate)
        chain.apply(0, new.genesis, b"", ALICE.der)
        chain.apply(1, new.delta, new.wraps[0], ALICE.der)
        late = mq.Chain("a/b", BOB, CA.certificate)
        late.apply(0, new.genesis, b"", ALICE.der)
        late.apply(1, new.delta, b"", ALICE.der)

        key = os.urandom(32)
        everyone = [*chain.members.values(), mq.Member(BOB.fingerprint, "bob", 0)]
        label = [mq.wrap_label(new.topic_id, 1, who.fingerprint) for who in (ALICE, BOB)]
        wraps = {
            ALICE.fingerprint: mq.oaep_seal(ALICE.key.public_key(), key, label[0]),
            BOB.fingerprint: mq.oaep_seal(BOB.key.public_key(), key, label[1]),
        }
        delta = mq.Delta(new.topic_id, 2, chain.head, ALICE.fingerprint, mq.now_ms(), [(BOB.fingerprint, "bob", 0)])
        previous = mq.seal_previous(key, new.topic_id, 1, new.key)
        delta.epoch = (1, mq.commitment(key, new.topic_id, 1), previous)
        delta.members_hash = mq.members_hash(everyone)
        delta.wrap_hashes = [mq.sha256(wraps[who]) for who in sorted(wraps)]
        record = mq.encode_delta(delta, ALICE.key)
        late.apply(5, record, wraps[BOB.fingerprint], ALICE.der)
        self.assertEqual([late.epochs[0].key, late.epochs[1].key], [new.key, key])

    def test_bodies(self) -> None:
        topic_id, publisher = os.urandom(32), os.urandom(16)
        epoch = mq.Epoch(0, os.urandom(32), b"", b"", os.urandom(32))
        for content in (b"", b"hello", os.urandom(mq.MAX_CONTENT)):
            body = mq.seal_body(topic_id, epoch, publisher, 7, content)
            self.assertLessEqual(len(body), mq.MAX_BODY)
            self.assertEqual(mq.open_body(topic_id, epoch, publisher, 7, body), content)
        with self.assertRaises(mq.ProtocolError):
            mq.open_body(topic_id, epoch, publisher, 8, body)
        with self.assertRaises(mq.ProtocolError):
            mq.open_body(topic_id, epoch, os.urandom(16), 7, body)


class Sessions(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.broker = fake_broker.Broker(BROKER, CA.certificate)
        threading.Thread(target=cls.broker.serve, daemon=True).start()

    @classmethod
    def tearDownClass(cls) -> None:
        cls.broker.listener.close()

    def connect(self, who: mq.Identity, **more: str) -> mq.Client:
        client = mq.Client.connect("127.0.0.1", self.broker.port, who, CA.certificate, **more)
        self.addCleanup(client.close)
        return client

    def test_handshakes(self) -> None:
        for _ in range(12):  # several sizes of batches
            self.assertEqual(self.connect(ALICE).exit().code, 0)

    def test_refusals(self) -> None:
        with self.assertRaises(mq.AuthenticationError):
            self.connect(ALICE, name="example.org")
        for who, code in ((minica.issue(None, "alice"), 14), (BROKER, 16)):
            with self.assertRaises(mq.HandshakeRefused) as caught:
                self.connect(who)
            self.assertEqual((caught.exception.code, caught.exception.authenticated), (code, True))
        with self.assertRaises(mq.HandshakeRefused) as caught:
            self.connect(mq.Identity(ALICE.certificate, BOB.key))
        self.assertEqual(caught.exception.code, 17)

    def test_publish_and_subscribe(self) -> None:
        self.connect(BOB).exit()
        self.connect(CAROL).exit()
        alice = self.connect(ALICE)
        topic = alice.create("s/1", ["bob"])
        self.assertEqual(alice.publish(topic, b"one"), 2)
        self.assertEqual(alice.publish_all(topic, [b"", os.urandom(mq.MAX_CONTENT), b"three"]), [3, 4, 5])
        bob = self.connect(BOB)
        self.assertEqual(bob.subscribe("s/+", mq.EARLIEST).matched, 1)
        past = bob.receive_past("s/1")
        self.assertEqual([m.content for m in past if len(m.content) < 100], [b"one", b"", b"three"])
        self.assertEqual([m.offset for m in past], [2, 3, 4, 5])
        alice.publish(topic, b"now")
        self.assertEqual(bob.receive().content, b"now")
        carol = self.connect(CAROL)
        self.assertEqual(carol.subscribe("#", mq.EARLIEST).others, len(self.broker.logs))
        with self.assertRaises(mq.RequestRefused) as caught:
            carol.open("s/1")
        self.assertEqual(caught.exception.code, 3)
        bob.ping()


if __name__ == "__main__":
    unittest.main()
