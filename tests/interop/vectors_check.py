"""Checks every value of the project's test vectors against this client.

    python3 vectors_check.py tests/vectors

A value that no check has looked at is an error, so that nothing passes unread. Nothing here is
random: where a signature, an envelope or a token was made with random bytes that the file gives,
those bytes are taken out of it again and compared.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from pathlib import Path
from typing import Any, Callable, Iterator

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

import sealmq as mq
from sealmq import Identity, Reader, kdf, u16, u32, u64

COMMENTS = {"about", "what"}


class Values:
    """One file's values, or one part of them; a shared set notes which were looked at."""

    def __init__(self, data: Any, path: str, report: Report):
        self.data, self.path, self.report = data, path, report

    def at(self, *keys: str | int) -> Values:
        data, path = self.data, self.path
        for key in keys:
            data, path = data[key], f"{path}.{key}"
        return Values(data, path, self.report)

    def __iter__(self) -> Iterator[Values]:
        return (self.at(index) for index in range(len(self.data)))

    def __contains__(self, key: str) -> bool:
        return key in self.data

    def value(self, *keys: str | int) -> Any:
        """A value that is an input."""
        found = self.at(*keys)
        self.report.seen.add(found.path)
        return found.data

    def bytes(self, *keys: str | int) -> bytes:
        return bytes.fromhex(self.value(*keys))

    def equal(self, *keys: str | int, to: bytes | int | str) -> None:
        """A value that is a result: `to` is what this side makes of it."""
        value = self.value(*keys)
        self.report.check(self.at(*keys).path, value, to.hex() if isinstance(to, bytes) else to)


class Report:
    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.passed = self.failed = 0

    def check(self, what: str, expected: Any, found: Any) -> None:
        if expected == found:
            self.passed += 1
        else:
            self.fail(f"{what}: {found!r} instead of {expected!r}")

    def fail(self, why: str) -> None:
        self.failed += 1
        print(f"FAIL {why}")

    def unread(self, data: Any, path: str) -> None:
        """Fails for each value that was not looked at."""
        if path in self.seen or path.rsplit(".", 1)[-1] in COMMENTS:
            return
        if isinstance(data, (dict, list)):
            for key, value in data.items() if isinstance(data, dict) else enumerate(data):
                self.unread(value, f"{path}.{key}")
        else:
            self.fail(f"{path}: not checked")


# ---------------------------------------------------------------------------------------------
# What was random


def mgf1(seed: bytes, length: int) -> bytes:
    blocks = range(-(-length // 32))
    return b"".join(hashlib.sha256(seed + u32(block)).digest() for block in blocks)[:length]


def xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


def pss_salt(key: rsa.RSAPublicKey, signature: bytes) -> bytes:
    """The salt of a signature that is known to be good (RFC 8017, 9.1.2)."""
    size = key.key_size // 8
    encoded = pow(int.from_bytes(signature, "big"), 65537, key.public_numbers().n).to_bytes(size, "big")
    masked, digest = encoded[:-33], encoded[-33:-1]
    return xor(masked, mgf1(digest, len(masked)))[-32:]


def oaep_seed(key: rsa.RSAPrivateKey, envelope: bytes) -> bytes:
    """The seed of an envelope that is known to be good (RFC 8017, 7.1.2)."""
    numbers, size = key.private_numbers(), key.key_size // 8
    encoded = pow(int.from_bytes(envelope, "big"), numbers.d, numbers.public_numbers.n).to_bytes(size, "big")
    return xor(encoded[1:33], mgf1(encoded[33:], 32))


def check_token(values: Values, key: bytes, token: bytes, now: int, plaintext: bytes) -> None:
    """A token of this plaintext, of this time and with the IV given, is the only one there is."""
    values.report.check(values.path + " (opened)", plaintext.hex(), mq.fernet_open(key, token).hex())
    values.report.check(values.path + " (timestamp)", now, int.from_bytes(token[1:9], "big"))
    values.equal("iv", to=token[9:25])


def load_key(path: Path) -> rsa.RSAPrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


# ---------------------------------------------------------------------------------------------
# handshake.json


def payload(message: bytes, kind: int) -> bytes:
    """A handshake message without its head."""
    reader = Reader(message)
    found, rest = mq.read_handshake_message(reader.take)
    reader.end()
    if found != kind:
        raise mq.ProtocolError(f"message {found} instead of {kind}")
    return rest


def check_handshake(v: Values, keys: Path) -> None:
    now = v.value("now")
    mq.clock.read = lambda: now
    ca = x509.load_der_x509_certificate(v.bytes("ca_certificate"))
    ca.verify_directly_issued_by(ca)
    alice = Identity(x509.load_der_x509_certificate(v.bytes("client_certificate")), load_key(keys / "alice.key"))
    broker = Identity(x509.load_der_x509_certificate(v.bytes("broker_certificate")), load_key(keys / "broker.key"))
    hosts = broker.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    client = mq.ClientHandshake(alice, ca, hosts.get_values_for_type(x509.DNSName)[0])

    client.nonce = v.bytes("client_hello", "nonce")
    client.private = X25519PrivateKey.from_private_bytes(v.bytes("client_hello", "x_secret"))
    v.equal("client_hello", "message", to=mq.handshake_message(mq.CLIENT_HELLO, client.hello()))

    check_broker_hello(v.at("broker_hello"), client, broker)
    check_client_auth(v.at("client_auth"), client, now)
    secret = check_session_key(v.at("session_key"), client)

    master = client.dh + secret
    v.equal("client_ready", "ready_key", to=kdf(master, client.th3, "ready"))
    ready = mq.mac(kdf(master, client.th3, "ready"), client.th3)
    v.equal("client_ready", "message", to=mq.handshake_message(mq.CLIENT_READY, ready))
    v.equal("session_keys", "client_to_broker", to=client.send_key)
    v.equal("session_keys", "broker_to_client", to=client.receive_key)
    next_key = kdf(client.send_key, u64(mq.REKEY_INTERVAL), "next")
    v.equal("session_keys", "client_to_broker_from_1048576", to=next_key)

    for record in v.at("records"):
        check_record(record, client, now)
    check_refusals(v, client, now)


def check_broker_hello(v: Values, client: mq.ClientHandshake, broker: Identity) -> None:
    message = v.bytes("message")
    client.on_broker_hello(payload(message, mq.BROKER_HELLO))  # certificate, path and signature
    x_b = X25519PrivateKey.from_private_bytes(v.bytes("x_secret")).public_key().public_bytes_raw()
    v.equal("th1", to=client.th1)
    v.equal("batch", 1, to=client.th1)
    leaves = [mq.merkle_leaf(v.bytes("batch", index)) for index in range(3)]
    root = mq.merkle_node(mq.merkle_node(leaves[0], leaves[1]), leaves[2])
    v.equal("root", to=root)
    path = u16(1) + u16(3) + mq.u8(2) + leaves[0] + leaves[2]
    v.equal("batch_path", to=path)
    signature = v.bytes("signature")
    mq.pss_verify(broker.key.public_key(), "sealmq/1 broker hello", root, signature)
    v.equal("pss_salt", to=pss_salt(broker.key.public_key(), signature))
    made = u16(1) + v.bytes("nonce") + x_b + mq.bytes16(broker.der) + path + mq.bytes16(signature)
    v.equal("message", to=mq.handshake_message(mq.BROKER_HELLO, made))


def check_client_auth(v: Values, client: mq.ClientHandshake, now: int) -> None:
    v.equal("dh", to=client.dh)
    v.equal("th2", to=client.th2)
    signature = v.bytes("signature")
    mq.pss_verify(client.identity.key.public_key(), "sealmq/1 client auth", client.th2, signature)
    v.equal("pss_salt", to=pss_salt(client.identity.key.public_key(), signature))
    client.signature = signature  # the one that was sent, instead of the fresh one
    plaintext = mq.bytes16(client.identity.der) + mq.bytes16(signature)
    v.equal("plaintext", to=plaintext)
    key = kdf(client.dh, client.th1, "hs")
    v.equal("hs_key", to=key)
    check_token(v, key, payload(v.bytes("message"), mq.CLIENT_AUTH), now, plaintext)


def check_session_key(v: Values, client: mq.ClientHandshake) -> bytes:
    message = v.bytes("message")
    client.on_session_key(payload(message, mq.SESSION_KEY))  # checks the MAC
    envelope = v.bytes("envelope")
    secret = mq.oaep_open(client.identity.key, envelope, b"sealmq/1 session")
    v.equal("session_secret", to=secret)
    v.equal("oaep_seed", to=oaep_seed(client.identity.key, envelope))
    v.equal("th3", to=client.th3)
    key = kdf(client.dh, client.th2, "env")
    v.equal("env_key", to=key)
    v.equal("mac", to=mq.mac(key, client.th3))
    v.equal("message", to=mq.handshake_message(mq.SESSION_KEY, mq.bytes16(envelope) + mq.mac(key, client.th3)))
    return secret


def check_record(v: Values, client: mq.ClientHandshake, now: int) -> None:
    """The frames of these records are any bytes, so only the token is looked at."""
    sender, sequence, record = v.value("from"), v.value("sequence"), v.bytes("record")
    direction = mq.Direction({"client": client.send_key, "broker": client.receive_key}[sender])
    if sequence >= mq.REKEY_INTERVAL:
        direction.sequence = mq.REKEY_INTERVAL - 1
        direction.seal_raw(b"")  # the last record under the first key
    reader = Reader(record)
    token = reader.take(reader.u32())
    reader.end()
    check_token(v, direction.key, token, now, u64(sequence) + v.bytes("frames"))


def check_refusals(v: Values, client: mq.ClientHandshake, now: int) -> None:
    for name, kind in (("refusal", mq.REFUSAL), ("sealed_refusal", mq.SEALED_REFUSAL)):
        part = v.at(name)
        message = payload(part.bytes("message"), kind)
        refusal = client.refusal(kind, message)
        part.equal("code", to=refusal.code)
        part.equal("retry_after_ms", to=refusal.retry_after)
        part.equal("text", to=refusal.text)
        plaintext = u16(refusal.code) + u32(refusal.retry_after) + mq.str16(refusal.text)
        if kind == mq.REFUSAL:
            v.report.check(part.path, plaintext.hex(), message.hex())
        else:
            key = kdf(client.dh, client.th1, "refuse")
            part.equal("refuse_key", to=key)
            check_token(part, key, message, now, plaintext)


# ---------------------------------------------------------------------------------------------
# chain.json


def check_chain(v: Values, keys: Path) -> None:
    people = {}
    for person in v.at("people"):
        name, key = person.value("name"), load_key(keys.parent / person.value("key"))
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        spki = key.public_key().public_bytes(serialization.Encoding.DER, form)
        person.equal("fingerprint", to=mq.sha256(spki))
        people[name] = (key, mq.Signer(mq.sha256(spki), name, key.public_key()))

    for topic in v.at("topics"):
        check_topic(topic, people)

    bases: dict[str, tuple[str, list[bytes]]] = {}
    for base in v.at("bases"):
        what = base.value("what")
        records = [base.bytes("records", index) for index in range(len(base.data["records"]))]
        bases[what] = ("home/kitchen", records)
        bases[what.replace("base", "genesis")] = ("home/kitchen", records[:1])
    for refused in v.at("refused"):
        check_refused(refused, bases, people)


def new_chain(name: str, who: tuple[rsa.RSAPrivateKey, mq.Signer]) -> mq.Chain:
    """A chain as this person sees it."""
    return mq.Chain(name, who[1].fingerprint, who[0])


def check_topic(v: Values, people: dict[str, Any]) -> None:
    chains = {name: new_chain(v.value("name"), who) for name, who in people.items()}
    chain = chains["alice"]
    for offset, record in enumerate(v.at("records")):
        raw, signer = record.bytes("record"), people[record.value("signer")][1]
        wraps = {}
        for wrap in record.at("wraps") if "wraps" in record else ():
            wraps[wrap.value("to")] = wrap.bytes("wrap")
        for name, view in chains.items():
            view.apply(offset, raw, wraps.get(name, b""), signer)
        record.equal("hash", to=chain.head)
        if "members" not in record:
            continue
        check_members(record, chain)
        for wrap in record.at("wraps"):
            who = people[wrap.value("to")][1].fingerprint
            wrap.equal("label", to=mq.wrap_label(chain.topic_id, chain.newest.number, who))
        check_epoch(record.at("epoch"), chain, [chains[name] for name in wraps])
    v.equal("id", to=chain.topic_id)
    v.equal("head", to=chain.head)
    v.equal("history", to={mq.HISTORY_ALL: "all", mq.HISTORY_SINCE_JOIN: "since-join"}[chain.history])
    if chain.history == mq.HISTORY_SINCE_JOIN:
        late = chains["carol"].epochs
        v.report.check(f"{v.path}: keys before carol came", None, late[0].key)


def check_members(v: Values, chain: mq.Chain) -> None:
    members = sorted(chain.members.values(), key=lambda member: member.fingerprint)
    v.report.check(v.at("members").path, len(v.data["members"]), len(members))
    for entry, member in zip(v.at("members"), members):
        entry.equal("fingerprint", to=member.fingerprint)
        entry.equal("name", to=member.name)
        entry.equal("role", to=member.role)
    v.equal("members_hash", to=mq.members_hash(members))


def check_epoch(v: Values, chain: mq.Chain, learners: list[mq.Chain]) -> None:
    epoch = chain.newest
    v.equal("epoch", to=epoch.number)
    v.equal("key", to=epoch.key)
    v.equal("salt", to=chain.topic_id + u32(epoch.number))
    v.equal("commitment", to=mq.commitment(epoch.key, chain.topic_id, epoch.number))
    v.equal("previous_key", to=epoch.previous)
    v.equal("record", to=epoch.started_by)
    for learner in learners:
        for number, known in learner.epochs.items():
            if chain.history == mq.HISTORY_ALL or number == epoch.number:
                v.report.check(f"{v.path}: key of epoch {number}", chain.epochs[number].key, known.key)


def check_refused(v: Values, bases: dict[str, Any], people: dict[str, Any]) -> None:
    (name, records), why = bases[v.value("after")], v.value("why")
    chain = new_chain(name, people["dave"])
    for offset, record in enumerate(records):
        chain.apply(offset, record, b"", people["alice"][1])
    record, signer = v.bytes("record"), people[v.value("signer")][1]
    _, signed, signature = mq.parse_record(record)
    mq.pss_verify(signer.key, "sealmq/1 topic record", signed, signature)  # the signature is not what is wrong
    try:
        chain.apply(len(records), record, b"", signer)
    except mq.ProtocolError:
        v.report.passed += 1
    else:
        v.report.fail(f"{v.path}: accepted, though: {why}")


# ---------------------------------------------------------------------------------------------
# fernet/*.json: the Fernet specification's own; those about time are left out, as times are not judged


def check_fernet(v: Values) -> None:
    for entry in v:
        what = entry.value("desc") if "desc" in entry else ""
        for key in entry.data:
            entry.value(key)
        if "TTL" in what or "TS" in what:
            continue
        try:
            key = base64_bytes(entry.data["secret"])
            opened = mq.fernet_open(key, base64_bytes(entry.data["token"])).decode()
        except (mq.ProtocolError, ValueError):
            opened = None
        v.report.check(f"{entry.path} {what}", entry.data.get("src"), opened)


# ---------------------------------------------------------------------------------------------
# messages.json


def check_messages(v: Values, keys: Path) -> None:
    alice = load_key(keys.parent / v.value("sender", "key")).public_key()
    sender, publisher, counter = v.bytes("sender", "fingerprint"), v.bytes("publisher"), v.value("counter")
    topic_id, number, key = v.bytes("topic"), v.value("epoch"), v.bytes("epoch_key")
    epoch = mq.Epoch(number, v.bytes("epoch_record"), b"", b"", key)
    v.equal("sender", "fingerprint", to=key_fingerprint(alice))
    v.equal("body_key", to=mq.body_key(topic_id, epoch))

    delegation = mq.Delegation.verified(v.bytes("delegation"), sender, publisher, alice)
    v.equal("ed25519", "public", to=delegation.key)
    signer = Ed25519PrivateKey.from_private_bytes(v.bytes("ed25519", "seed"))
    v.equal("ed25519", "public", to=signer.public_key().public_bytes_raw())
    v.equal("time", to=delegation.not_before)
    delegation.check_time(v.value("time"))

    content = v.bytes("content")
    signed = mq.signed_fields(topic_id, epoch, publisher, counter) + content
    signature = mq.sign_message(mq.Publisher(publisher, signer, b""), signed)
    v.equal("message", "signed", to=signed)
    v.equal("message", "hash", to=hashlib.sha256(signed).digest())
    v.equal("message", "signature", to=signature)
    v.equal("message", "plaintext", to=signed + signature)
    body = v.bytes("message", "body")
    v.equal("message", "iv", to=body[9:25])
    v.equal("content", to=mq.open_body(topic_id, epoch, delegation, counter, body))

    carol = load_key(keys.parent / v.value("join_request", "key")).public_key()
    request = v.bytes("join_request", "bytes")
    check_join_request(v, request, carol, topic_id)
    for entry in v.at("refused", "bodies"):
        refuse(v, entry, lambda it: mq.open_body(topic_id, epoch, delegation, counter, it), entry.bytes("body"))
    for entry in v.at("refused", "delegations"):
        refuse(v, entry, lambda it: mq.Delegation.verified(it, sender, publisher, alice), entry.bytes("delegation"))
    for entry in v.at("refused", "join_requests"):
        refuse(v, entry, lambda it: check_join_request(v, it, carol, topic_id), entry.bytes("bytes"))


def key_fingerprint(key: rsa.RSAPublicKey) -> bytes:
    encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(key.public_bytes(encoding, form)).digest()


def check_join_request(v: Values, request: bytes, key: rsa.RSAPublicKey, topic_id: bytes) -> None:
    reader = Reader(request)
    reader.u8()
    v.equal("topic_name", to=reader.str16())
    v.report.check("the request's topic id", topic_id, reader.take(32))
    v.report.check("the request's client", key_fingerprint(key), reader.take(32))
    v.report.check("the request's name", "carol", reader.str8())
    v.equal("time", to=reader.u64())
    signed = hashlib.sha256(request[: reader.at]).digest()
    mq.pss_verify(key, "sealmq/1 join request", signed, reader.bytes16())
    reader.end()


def refuse(v: Values, entry: Values, check: Callable[[bytes], Any], value: bytes) -> None:
    """What is to be refused: by an error of ours, not by any."""
    why = entry.value("why")
    try:
        check(value)
    except mq.ProtocolError:
        v.report.passed += 1
    else:
        v.report.fail(f"{entry.path}: taken, though {why}")


def base64_bytes(text: str) -> bytes:
    return base64.b64decode(text, altchars=b"-_", validate=True)


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    folder, report = Path(sys.argv[1]), Report()
    checks = {"handshake.json": check_handshake, "chain.json": check_chain, "messages.json": check_messages}
    for name in [*checks, *sorted(f"fernet/{path.name}" for path in (folder / "fernet").glob("*.json"))]:
        values = Values(json.loads((folder / name).read_text()), name, report)
        before = report.passed
        try:
            if name in checks:
                checks[name](values, folder / "keys")
            else:
                check_fernet(values)
        except (KeyError, IndexError, ValueError, InvalidSignature, mq.ProtocolError) as error:
            report.fail(f"{name}: {error!r}")
        report.unread(values.data, name)
        print(f"{name}: {report.passed - before} checks")
    print(f"{report.passed} passed, {report.failed} failed")
    return 0 if report.failed == 0 and report.passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
