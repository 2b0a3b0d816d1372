"""Checks the client's primitives against test vectors, or makes such vectors.

    python3 vectors_check.py handshake.json chain.json ...  checks the files given
    python3 vectors_check.py --make DIR                     writes both files into DIR

A file is one JSON object of strings in hex, with the names used below; which of the two it is shows
in its fields. Values that are missing are skipped and counted, unknown ones are an error, so that
nothing passes unchecked. A file that is a list holds vectors of the Fernet specification. Signatures and OAEP envelopes are random: they are verified and opened,
all else is computed again from the inputs and compared.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import sys
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

import minica
import sealmq_client as mq
from sealmq_client import Identity, Reader, kdf, u16, u32, u64


class Vectors:
    """One file's values; notes which were used and what did not fit."""

    def __init__(self, data: dict[str, Any]):
        self.data = {key: value for key, value in data.items() if not key.startswith("comment")}
        self.used: set[str] = set()
        self.checked, self.missing, self.wrong = 0, 0, 0

    def take(self, name: str) -> bytes:
        """An input."""
        self.used.add(name)
        return bytes.fromhex(self.data[name])

    def text(self, name: str) -> str:
        self.used.add(name)
        return self.data[name]

    def expect(self, name: str, value: bytes) -> None:
        """A result: it has to be equal if the file has it."""
        self.used.add(name)
        if name not in self.data:
            self.missing += 1
        elif bytes.fromhex(self.data[name]) == value:
            self.checked += 1
        else:
            self.wrong += 1
            print(f"FAIL {name}: {value.hex()} instead of {self.data[name]}")

    def identity(self, name: str) -> Identity:
        certificate = x509.load_der_x509_certificate(self.take(name + "_certificate"))
        return Identity(certificate, serialization.load_der_private_key(self.take(name + "_key"), None))

    def done(self) -> bool:
        unknown = self.data.keys() - self.used
        if unknown:
            print(f"FAIL unknown values: {sorted(unknown)}")
        print(f"{self.checked} values checked, {self.missing} not in the file, {self.wrong} wrong")
        return not unknown and not self.wrong and self.checked > 0


def check_handshake(v: Vectors) -> None:
    """Replays a handshake from its five messages (payloads, without length and type)."""
    ca = x509.load_der_x509_certificate(v.take("ca_certificate"))
    client = mq.ClientHandshake(v.identity("client"), ca, v.text("host"))
    client.private = X25519PrivateKey.from_private_bytes(v.take("client_x25519"))
    hello = v.take("client_hello")
    client.nonce = hello[8:40]
    v.expect("client_hello", client.hello())

    client.on_broker_hello(v.take("broker_hello"))  # checks certificate, path and signature
    v.expect("dh", client.dh)
    v.expect("th1", client.th1)
    v.expect("th2", client.th2)
    hs = kdf(client.dh, client.th1, "hs")
    v.expect("key_hs", hs)
    v.expect("key_refuse", kdf(client.dh, client.th1, "refuse"))
    reader = Reader(mq.fernet_open(hs, v.take("client_auth")))
    v.expect("client_certificate", reader.bytes16())
    client.signature = reader.bytes16()  # the one that was sent, instead of a fresh one
    reader.end()
    mq.pss_verify(client.identity.key.public_key(), "sealmq/1 client auth", client.th2, client.signature)

    session_key = v.take("session_key")
    v.expect("client_ready", client.on_session_key(session_key))  # checks the MAC
    envelope = Reader(session_key).bytes16()
    secret = mq.oaep_open(client.identity.key, envelope, b"sealmq/1 session")
    v.expect("secret", secret)
    v.expect("th3", client.th3)
    v.expect("key_env", kdf(client.dh, client.th2, "env"))
    v.expect("key_ready", kdf(client.dh + secret, client.th3, "ready"))
    v.expect("key_client_to_broker", client.send_key)
    v.expect("key_broker_to_client", client.receive_key)
    v.expect("key_client_to_broker_next", kdf(client.send_key, u64(mq.REKEY_INTERVAL), "next"))
    if "sealed_refusal" in v.data:
        refusal = client.refusal(mq.SEALED_REFUSAL, v.take("sealed_refusal"))
        v.expect("refusal", u16(refusal.code) + u32(refusal.retry_after) + mq.str16(refusal.text))
    if "first_record" in v.data:
        record = Reader(v.take("first_record"))
        frames = mq.Direction(client.send_key).read(record.take)
        record.end()
        v.expect("first_record_frames", b"".join(mq.encode_frame(frame)[0] for frame in frames))


def check_chain(v: Vectors) -> None:
    """Takes a topic's first two records and one message."""
    ca = x509.load_der_x509_certificate(v.take("ca_certificate"))
    member, signer = v.identity("member"), v.take("signer_certificate")
    chain = mq.Chain(v.text("topic"), member, ca)
    genesis, delta = v.take("genesis"), v.take("delta")
    chain.apply(0, genesis, b"", signer)
    chain.apply(1, delta, v.take("wrap"), signer)  # signature, chain, member list, wrap and commitment
    epoch = chain.newest
    v.expect("topic_id", chain.topic_id)
    v.expect("delta_hash", chain.head)
    v.expect("members_hash", mq.members_hash(chain.members.values()))
    v.expect("epoch_key", epoch.key)
    v.expect("commitment", mq.commitment(epoch.key, chain.topic_id, 0))
    v.expect("body_key", kdf(epoch.key, chain.topic_id + u32(0), "body"))
    counter = int.from_bytes(v.take("counter"), "big")
    v.expect("content", mq.open_body(chain.topic_id, epoch, v.take("publisher"), counter, v.take("body")))
    v.expect("previous_epoch_key", kdf(epoch.key, chain.topic_id + u32(0), "previous epoch"))


def check_fernet(entries: list[dict[str, Any]]) -> bool:
    """The Fernet specification's own vectors; those about time are left out, as times are not judged."""
    good, checked = True, 0
    for entry in entries:
        what = entry.get("desc", "a good token")
        if "TTL" in what or "TS" in what:
            continue
        try:
            token, key = base64_bytes(entry["token"]), base64_bytes(entry["secret"])
            opened = mq.fernet_open(key, token).decode()
        except (mq.ProtocolError, ValueError):
            opened = None
        checked += 1
        if opened != entry.get("src"):
            print(f"FAIL {what}: {opened}")
            good = False
    print(f"{checked} of {len(entries)} tokens checked")
    return good and (checked > 0)


def base64_bytes(text: str) -> bytes:
    return base64.b64decode(text, altchars=b"-_", validate=True)


def private_bytes(identity: Identity) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return identity.key.private_bytes(serialization.Encoding.DER, form, serialization.NoEncryption())


def make(directory: Path) -> None:
    """Writes vectors of this side's making, with a batch of five hellos."""
    ca = minica.make_ca()
    broker, alice, bob = minica.issue(ca, "broker", ["127.0.0.1"]), minica.issue(ca, "alice"), minica.issue(ca, "bob")
    client = mq.ClientHandshake(alice, ca.certificate, "127.0.0.1")
    hello = client.hello()
    private, nonce = X25519PrivateKey.generate(), os.urandom(32)
    x_b = private.public_key().public_bytes_raw()
    th1 = mq.H(hello, u16(1), nonce, x_b, broker.der)
    # Leaf 2 of 5: beside it leaf 3, then the node over 0 and 1, then leaf 4.
    beside = [os.urandom(32) for _ in range(3)]
    path = u16(2) + u16(5) + mq.u8(3) + b"".join(beside)
    root = mq.merkle_root(mq.merkle_leaf(th1), 2, 5, beside)
    signature = mq.pss_sign(broker.key, "sealmq/1 broker hello", root)
    broker_hello = u16(1) + nonce + x_b + mq.bytes16(broker.der) + path + mq.bytes16(signature)
    auth = client.on_broker_hello(broker_hello)
    secret = os.urandom(32)
    envelope = mq.oaep_seal(alice.key.public_key(), secret, b"sealmq/1 session")
    th3 = mq.H(client.th2, client.signature, envelope)
    session_key = mq.bytes16(envelope) + mq.mac(kdf(client.dh, client.th2, "env"), th3)
    ready = client.on_session_key(session_key)
    refusal = u16(17) + u32(0) + mq.str16("no")
    ping = mq.Frame("Ping", {"number": 1})
    handshake = {
        "ca_certificate": ca.der, "client_certificate": alice.der, "client_key": private_bytes(alice),
        "client_x25519": client.private.private_bytes_raw(),
        "client_hello": hello, "broker_hello": broker_hello, "client_auth": auth, "session_key": session_key,
        "client_ready": ready, "secret": secret, "dh": client.dh, "th1": client.th1, "th2": client.th2, "th3": th3,
        "key_hs": kdf(client.dh, th1, "hs"), "key_refuse": kdf(client.dh, th1, "refuse"),
        "key_env": kdf(client.dh, client.th2, "env"), "key_ready": kdf(client.dh + secret, th3, "ready"),
        "key_client_to_broker": client.send_key, "key_broker_to_client": client.receive_key,
        "key_client_to_broker_next": kdf(client.send_key, u64(mq.REKEY_INTERVAL), "next"),
        "refusal": refusal, "sealed_refusal": mq.fernet_seal(kdf(client.dh, th1, "refuse"), refusal),
        "first_record": mq.Direction(client.send_key).seal([ping]), "first_record_frames": mq.encode_frame(ping)[0],
    }

    new = mq.make_topic(alice, "plant/line1", [(bob.certificate, mq.ROLE_MEMBER)])
    epoch = mq.Epoch(0, mq.sha256(new.delta), mq.commitment(new.key, new.topic_id, 0), b"", new.key)
    publisher, content = os.urandom(16), b"hello"
    everyone = [mq.Member(alice.fingerprint, "alice", mq.ROLE_OWNER), mq.Member(bob.fingerprint, "bob", 0)]
    chain = {
        "ca_certificate": ca.der, "member_certificate": bob.der, "member_key": private_bytes(bob),
        "signer_certificate": alice.der, "genesis": new.genesis, "delta": new.delta,
        "wrap": new.wraps[sorted([alice.fingerprint, bob.fingerprint]).index(bob.fingerprint)],
        "topic_id": new.topic_id, "delta_hash": mq.sha256(new.delta), "members_hash": mq.members_hash(everyone),
        "epoch_key": new.key, "commitment": epoch.commitment,
        "body_key": kdf(new.key, new.topic_id + u32(0), "body"),
        "previous_epoch_key": kdf(new.key, new.topic_id + u32(0), "previous epoch"),
        "publisher": publisher, "counter": u64(7), "content": content,
        "body": mq.seal_body(new.topic_id, epoch, publisher, 7, content),
    }
    directory.mkdir(parents=True, exist_ok=True)
    for name, values, extra in (
        ("handshake.json", handshake, {"host": "127.0.0.1"}),
        ("chain.json", chain, {"topic": "plant/line1"}),
    ):
        text = json.dumps(extra | {key: value.hex() for key, value in values.items()}, indent=1)
        (directory / name).write_text(text + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--make", type=Path, metavar="DIR")
    parser.add_argument("files", nargs="*", type=Path)
    arguments = parser.parse_args()
    if arguments.make:
        make(arguments.make)
        return 0
    good = bool(arguments.files)
    for path in arguments.files:
        print(path.name)
        data = json.loads(path.read_text())
        if isinstance(data, list):
            good = check_fernet(data) and good
            continue
        vectors = Vectors(data)
        try:
            (check_handshake if "client_hello" in vectors.data else check_chain)(vectors)
        except KeyError as error:
            print(f"FAIL the file has no {error}")
            good = False
        except mq.ProtocolError as error:
            print(f"FAIL {error}")
            good = False
        good = vectors.done() and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
