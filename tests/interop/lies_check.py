"""Plays a broker that lies, and members that lie, to the part of the client that checks what comes.

    python3 lies_check.py

No socket and no real broker: an honest log is made in memory, told as an honest broker would tell it, and read. Then
each case changes something, and says what the reader has to take, drop and miss.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from typing import Any, Callable, Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

import minica
import sealmq as mq
from lies_world import HANDLE, NAME, Log, People, Read, read
from sealmq import Frame, Identity

CASES: list[tuple[str, Callable[[People], None]]] = []
Change = Callable[[list[Frame]], None]


def case(name: str) -> Callable[[Callable[[People], None]], Callable[[People], None]]:
    def register(function: Callable[[People], None]) -> Callable[[People], None]:
        CASES.append((name, function))
        return function

    return register


def expect(found: Read, contents: Sequence[bytes], dropped: Sequence[str] = (), missing: Sequence[Any] = ()) -> None:
    """The reader took these, dropped others for these reasons, and missed these."""
    if found.contents != list(contents):
        raise AssertionError(f"took {found.contents}, dropped {found.dropped}")
    if len(found.dropped) != len(dropped) or any(part not in why for part, why in zip(dropped, found.dropped)):
        raise AssertionError(f"dropped {found.dropped}")
    if found.missing != list(missing):
        raise AssertionError(f"missed {found.missing}")


def refused(action: Callable[[], object], why: str) -> None:
    try:
        action()
    except mq.ProtocolError as error:
        if why not in str(error):
            raise AssertionError(f"refused, but: {error}") from None
    else:
        raise AssertionError("it was taken")


def three(people: People, **policy: int) -> Log:
    """Members alice and bob; messages 2 and 3 of alice, 4 of bob."""
    log = Log(people, [(people.bob, mq.ROLE_MEMBER)], **policy)
    for who, content in ((people.alice, b"one"), (people.alice, b"two"), (people.bob, b"three")):
        log.publish(who, content)
    return log


def lie(
    name: str, change: Change, contents: Sequence[bytes], dropped: Sequence[str] = (), missing: Sequence[Any] = ()
) -> None:
    """The three messages, with the frames changed by the broker."""

    def run(people: People) -> None:
        frames = three(people).told(people.bob)
        change(frames)
        expect(read(people, frames), contents, dropped, missing)

    CASES.append((name, run))


def at(frames: list[Frame], offset: int) -> int:
    """Where the frame of this offset stands."""
    return next(place for place, frame in enumerate(frames) if frame.fields.get("offset") == offset)


def put(offset: int, **fields: Any) -> Change:
    """Changes fields of the entry at this offset."""
    return lambda frames: frames[at(frames, offset)].fields.update(fields)


def put_sender(number: int, **fields: Any) -> Change:
    def change(frames: list[Frame]) -> None:
        for frame in frames:
            if frame.kind == "Sender" and frame.sender == number:
                frame.fields.update(fields)

    return change


def remove(*offsets: int) -> Change:
    def change(frames: list[Frame]) -> None:
        for offset in offsets:
            del frames[at(frames, offset)]

    return change


def flip(data: bytes, place: int = -1) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 1
    return bytes(changed)


ALL = [b"one", b"two", b"three"]
WRONG_SENDER = "Sender's certificate is another's"

# What a broker can do to messages

lie("honest", lambda frames: None, ALL)
lie("a message left out", remove(3), [b"one", b"three"], missing=[("offset", 3, 4)])
lie("the last message left out", remove(4), [b"one", b"two"], missing=[("offset", 4, 5)])
lie("a message given twice", lambda f: f.insert(at(f, 3), f[at(f, 2)]), ALL, ["offset that was passed"])


def swap(frames: list[Frame]) -> None:
    a, b = at(frames, 2), at(frames, 3)
    frames[a], frames[b] = frames[b], frames[a]


lie("two messages in the other order", swap, [b"two", b"three"], ["offset that was passed"], [("offset", 2, 3)])


def swapped(people: People) -> None:
    frames = three(people).told(people.bob)
    one, two = frames[at(frames, 2)], frames[at(frames, 3)]
    for key in ("counter", "body"):
        one.fields[key], two.fields[key] = two.fields[key], one.fields[key]
    expect(read(people, frames), [b"two", b"three"], ["counter that was had already"], [("counter", 0, 1)])


CASES.append(("two messages in each other's place", swapped))


def hide(frames: list[Frame]) -> None:
    """Takes a message out and moves those behind it up."""
    remove(2)(frames)
    for frame in frames:
        if frame.fields.get("offset", 0) > 2:
            frame.fields["offset"] -= 1
    frames[-1].fields["next"] -= 1


lie("a message left out and the others moved up", hide, [b"two", b"three"], missing=[("counter", 0, 1)])
lie("another counter", put(3, counter=2), [b"one", b"three"], ["another topic, epoch, sender or message"])
lie("another epoch", put(3, epoch=1), [b"one", b"three"], ["another epoch than"])
lie("another sender", put(4, sender=0), [b"one", b"two"], ["another topic, epoch, sender or message"])
lie("a sender that was not told", put(3, sender=9), [b"one", b"three"], ["unknown sender"])
lie("a time long after the delegation", put(3, time=mq.now_ms() + 9 * mq.DAY_MS), [b"one", b"three"], ["delegation"])
lie("a time long before it", put(3, time=mq.now_ms() - 2 * mq.DAY_MS), [b"one", b"three"], ["delegation"])
lie("a time within the spare day", put(3, time=mq.now_ms() + 7 * mq.DAY_MS + 3_600_000), ALL)
lie("another name in Sender", put_sender(0, name="bob"), [b"three"], [WRONG_SENDER] * 2)
lie("no delegation", put_sender(0, delegation=b""), [b"three"], ["beyond the end"] * 2)


@case("a Sender's number that becomes another's")
def _(people: People) -> None:
    frames = three(people).told(people.bob)
    other = next(frame for frame in frames if frame.kind == "Sender" and frame.sender == 1)
    frames.insert(at(frames, 3), Frame("Sender", other.fields | {"sender": 0}))
    expect(read(people, frames), [b"one", b"three"], ["number was another's"])


@case("a gap: what is in it is not missing, and counters may jump")
def _(people: People) -> None:
    log = three(people)
    for content in (b"four", b"five", b"six"):
        log.publish(people.alice, content)
    frames = log.told(people.bob)
    remove(3, 4, 5)(frames)
    frames.insert(at(frames, 6), Frame("Gap", {"topic": HANDLE, "start": 3, "to": 6}))
    expect(read(people, frames), [b"one", b"five", b"six"])
    remove(6)(frames)
    frames[at(frames, 7)].fields["offset"] = 6  # behind the gap it goes unseen, as it would have been in it
    frames[-1].fields["next"] = 7
    expect(read(people, frames), [b"one", b"six"])


@case("a delivery that begins late: first counters may be any, the next may not")
def _(people: People) -> None:
    log = three(people)
    for content in (b"four", b"five", b"six"):
        log.publish(people.alice, content)
    expect(read(people, log.told(people.bob, 3)), [b"two", b"three", b"four", b"five", b"six"])
    frames = log.told(people.bob, 3)
    remove(5)(frames)
    for frame in frames[at(frames, 6) :]:
        frame.fields["offset" if frame.kind == "Message" else "next"] -= 1
    expect(read(people, frames), [b"two", b"three", b"five", b"six"], missing=[("counter", 2, 3)])


# Who may say what


@case("certificates: expired is good, of another CA is not")
def _(people: People) -> None:
    log = three(people)
    old = Identity(minica.issue(people.ca, "alice", days=(-30, -2), key=people.alice.key).certificate, people.alice.key)
    other = minica.issue(minica.make_ca(), "alice", key=people.alice.key)
    for certificate, contents, why in ((old, ALL, []), (other, [b"three"], ["not of this CA"] * 2)):
        frames = log.told(people.bob)
        put_sender(0, certificate=certificate.der)(frames)
        expect(read(people, frames), contents, why)


@case("a certificate of the right name with another key")
def _(people: People) -> None:
    frames = three(people).told(people.bob)
    made = minica.issue(people.ca, "alice")
    put_sender(0, certificate=made.der)(frames)
    expect(read(people, frames), [b"three"], [WRONG_SENDER] * 2)
    put_sender(0, certificate=made.der, fingerprint=made.fingerprint)(frames)
    expect(read(people, frames), [b"three"], ["another sender or publisher id"] * 2)
    publisher = mq.Publisher.new(made, people.publisher(people.alice).id)
    put_sender(0, delegation=publisher.delegation)(frames)
    expect(read(people, frames), [b"three"], ["no member"] * 2)


@case("delegations that are not good")
def _(people: People) -> None:
    good = people.publisher(people.alice)
    reader = mq.Reader(good.delegation)
    reader.take(49)
    key = reader.take(32)
    base = mq.Delegation(people.alice.fingerprint, good.id, key, 0, 2**63)
    other_key = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    bad = {
        "wrong signature": [
            base.encode(people.bob.key), flip(good.delegation), flip(good.delegation, 82), flip(good.delegation, 90),
        ],
        "behind the last": [good.delegation + b"\0"],
        "unknown version": [b"\2" + good.delegation[1:]],
        "another sender": [
            replace(base, sender=people.bob.fingerprint).encode(people.alice.key),
            replace(base, publisher=bytes(16)).encode(people.alice.key),
            people.publisher(people.bob).delegation,
        ],
        "small order": [replace(base, key=b"\1" + bytes(31)).encode(people.alice.key)],
        "no point": [replace(base, key=b"\2" + bytes(31)).encode(people.alice.key)],
    }
    for why, delegations in bad.items():
        for delegation in delegations:
            frames = three(people).told(people.bob)
            put_sender(0, delegation=delegation)(frames)
            expect(read(people, frames), [b"three"], [why] * 2)
    frames = three(people).told(people.bob)
    put_sender(0, delegation=replace(base, key=other_key).encode(people.alice.key))(frames)
    expect(read(people, frames), [b"three"], ["wrong signature for 'sealmq/1 message'"] * 2)


@case("a co-member forges, under the topic's key")
def _(people: People) -> None:
    log = three(people)
    alice, bob, newest = people.publisher(people.alice), people.publisher(people.bob), log.chain.newest
    topic_id, key = log.chain.topic_id, mq.body_key(log.chain.topic_id, log.chain.newest)
    genuine = mq.fernet_open(key, log.entries[3].body)

    def signed_by(publisher: mq.Publisher, counter: int, kind: int, content: bytes, who: mq.Publisher) -> bytes:
        signed = mq.signed_fields(topic_id, newest, publisher.id, counter, kind) + content
        return mq.fernet_seal(key, signed + mq.ed25519_sign(who.key, "sealmq/1 message", mq.sha256(signed)))

    unsigned = mq.signed_fields(topic_id, newest, alice.id, 2, mq.KIND_UNSIGNED) + b"forged"
    other = "another topic, epoch, sender or message"
    for body, why in (
        (signed_by(alice, 2, 1, b"forged", bob), "wrong signature"),
        (signed_by(alice, 2, 0, b"forged", alice), "unsigned"),
        (mq.fernet_seal(key, unsigned), "too short"),
        (mq.fernet_seal(key, unsigned + bytes(64)), "unsigned"),
        (mq.fernet_seal(key, genuine[:-65] + b"!" + genuine[-64:]), other),
        (mq.fernet_seal(key, mq.signed_fields(topic_id, newest, alice.id, 2) + b"two" + genuine[-64:]), "wrong signature"),
        (mq.fernet_seal(key, genuine), other),
        (signed_by(bob, 2, 1, b"forged", bob), other),
        (signed_by(alice, 2, 1, bytes(mq.MAX_CONTENT + 1), alice), "too large"),
        (b"", "does not open"),
        (flip(log.entries[3].body), "does not open"),
    ):
        log.entries[5:] = []
        log.publish(people.alice, b"", counter=2, body=body or b"\x80")
        expect(read(people, log.told(people.bob)), ALL, [why])


@case("a message of another topic, and of an earlier epoch")
def _(people: People) -> None:
    log, elsewhere = three(people), three(people)
    elsewhere.publish(people.alice, b"moved")
    log.publish(people.alice, b"", body=elsewhere.entries[5].body)
    expect(read(people, log.told(people.bob)), ALL, ["does not open"])
    log.entries[5:] = []
    old = log.chain.newest
    body = mq.seal_body(log.chain.topic_id, old, people.publisher(people.alice), 2, b"late")
    log.amend(new_epoch=True)
    log.publish(people.alice, b"", counter=2, body=body)
    expect(read(people, log.told(people.bob)), ALL, ["does not open"])
    log.entries[6].epoch = 0
    expect(read(people, log.told(people.bob)), ALL, ["another epoch than"])


@case("a message of one who is not yet, no longer, or never a reader")
def _(people: People) -> None:
    log = three(people)
    log.publish(people.carol, b"early")
    log.amend(add=[(people.carol.certificate, mq.ROLE_MEMBER)])
    log.publish(people.carol, b"in")
    log.amend(remove=[people.carol.fingerprint])
    log.publish(people.carol, b"late")
    expect(read(people, log.told(people.bob)), [*ALL, b"in"], ["no member", "no member"])
    vault = Log(people, [(people.bob, mq.ROLE_MEMBER), (people.carol, mq.ROLE_RECOVERY)])
    vault.publish(people.carol, b"from the safe")
    expect(read(people, vault.told(people.bob)), [], ["no member"])


# What a broker can do to records


@case("history all and since-join, for one who came late")
def _(people: People) -> None:
    for history, contents in ((mq.HISTORY_ALL, [*ALL, b"new"]), (mq.HISTORY_SINCE_JOIN, [b"new"])):
        log = three(people, history=history)
        log.amend(add=[(people.carol.certificate, mq.ROLE_MEMBER)])
        log.publish(people.alice, b"new")
        found = read(people, log.told(people.carol), people.carol)
        expect(found, contents)
        assert found.topic.unreadable == ([] if history == mq.HISTORY_ALL else [2, 3, 4])


def broken(name: str, change: Change, why: str) -> None:
    """A topic whose third record, at offset 5, adds carol; a broker spoils what it tells of the records."""

    def run(people: People) -> None:
        log = three(people)
        log.amend(add=[(people.carol.certificate, mq.ROLE_MEMBER)])
        log.amend(new_epoch=True)
        frames = log.told(people.bob)
        change(frames)
        topic = read(people, frames).topic
        assert topic.broken is not None and why in str(topic.broken), topic.broken

    CASES.append((name, run))


def swap_records(frames: list[Frame]) -> None:
    a, b = at(frames, 5), at(frames, 6)
    for key in ("record", "wrap"):
        frames[a].fields[key], frames[b].fields[key] = frames[b].fields[key], frames[a].fields[key]


def flip_wrap(frames: list[Frame]) -> None:
    frames[at(frames, 6)].fields["wrap"] = flip(frames[at(frames, 6)].wrap)


def old_wrap(frames: list[Frame]) -> None:
    frames[at(frames, 6)].fields["wrap"] = frames[at(frames, 1)].wrap


broken("a record left out", remove(5), "does not continue the chain")
broken("records in another order", swap_records, "does not continue the chain")
broken("a record given twice", lambda f: f.insert(at(f, 6), f[at(f, 5)]), "offset that was passed")
broken("a record with a changed bit", lambda f: put(5, record=flip(f[at(f, 5)].record, 200))(f), "")
broken("a changed wrap", flip_wrap, "not the one that the record names")
broken("a wrap of an earlier epoch", old_wrap, "not the one that the record names")


@case("records by one who may not, though they are signed")
def _(people: People) -> None:
    log = three(people)
    certificates = {who.fingerprint: who.certificate for who in people.all}
    new = mq.make_delta(log.chain, people.bob, certificates, add=[(people.carol.certificate, 0)])
    refused(lambda: log.add_record(new.record, new.wraps, people.bob), "one who may not")
    log.amend(change=[(people.bob.fingerprint, mq.ROLE_ADMIN)])
    for changes in (
        {"add": [(people.carol.certificate, mq.ROLE_ADMIN)]}, {"join_policy": mq.JOIN_OPEN},
        {"add": [(people.carol.certificate, mq.ROLE_RECOVERY)]},
    ):
        refused(lambda: log.amend(people.bob, **changes), "an admin")
    log.amend(people.bob, add=[(people.carol.certificate, mq.ROLE_MEMBER)])
    log.amend(people.bob, remove=[people.carol.fingerprint])
    assert people.carol.fingerprint in log.chain.barred
    log.amend(people.bob, deny=[(people.carol.fingerprint, "not you")])
    assert log.chain.barred[people.carol.fingerprint] == "not you"


@case("while the newest record's signer is revoked nothing is delivered")
def _(people: People) -> None:
    log = Log(people, [(people.bob, mq.ROLE_MEMBER), (people.carol, mq.ROLE_ADMIN)])
    log.amend(people.carol, new_epoch=True)
    log.publish(people.alice, b"held")
    frames, inbox = log.told(people.bob), mq.Inbox()
    topic = mq.Topic(frames[0], people.bob, people.ca.certificate, inbox, {people.carol.certificate.serial_number})
    topic.take_topic(frames[0], delivering=True)
    for frame in frames[1:-1]:
        {"Record": topic.take_record, "Sender": topic.take_sender, "Message": topic.take_message}[frame.kind](frame)
    assert topic.signer_revoked and not inbox.messages
    log.amend(remove=[people.carol.fingerprint])
    topic.take_record(log.told(people.bob)[-2])
    assert [message.content for message in inbox.messages] == [b"held"] and not inbox.dropped, inbox


# Signatures and requests


@case("Ed25519 is verified strictly")
def _(people: People) -> None:
    key, digest = Ed25519PrivateKey.generate(), mq.sha256(b"x")
    public, message = key.public_key().public_bytes_raw(), b"c\0" + digest
    good = mq.ed25519_sign(key, "c", digest)
    mq.ed25519_verify(public, "c", digest, good)
    refused(lambda: mq.ed25519_verify(public, "d", digest, good), "wrong signature")
    scalar = int.from_bytes(good[32:], "little")
    refused(lambda: mq.ed25519_verify(public, "c", digest, good[:32] + le(scalar + mq.ORDER)), "too large")

    half = bytearray(hashlib.sha512(key.private_bytes_raw()).digest()[:32])
    half[0], half[31] = half[0] & 248, half[31] & 127 | 64
    secret, identity = int.from_bytes(half, "little"), b"\1" + bytes(31)
    hashed = int.from_bytes(hashlib.sha512(identity + public + message).digest(), "little")
    small_r = identity + le(hashed * secret % mq.ORDER)
    small_key = public + le(secret % mq.ORDER)  # R is the public key, so r the secret
    for verifying, signature in ((public, small_r), (identity, small_key)):
        Ed25519PublicKey.from_public_bytes(verifying).verify(signature, message)  # the library alone takes both
        refused(lambda: mq.ed25519_verify(verifying, "c", digest, signature), "small order")


def le(number: int) -> bytes:
    return number.to_bytes(32, "little")


@case("join requests that are not believed")
def _(people: People) -> None:
    carol, topic_id = people.carol, mq.sha256(b"topic")
    good = mq.make_join_request(carol, NAME, topic_id)
    ca = people.ca.certificate
    assert mq.believe(good, carol.der, ca, NAME, topic_id).name == "carol"
    old = minica.issue(people.ca, "carol", days=(-30, -2), key=carol.key)
    other_name = minica.issue(people.ca, "dave", key=carol.key)
    for request, certificate, name, why in (
        (good, people.bob.der, NAME, "another's"),
        (good, other_name.der, NAME, "another's"),
        (good, old.der, NAME, "expired"),
        (good, carol.der, NAME + "x", "another topic"),
        (flip(good), carol.der, NAME, "wrong signature"),
        (good + b"\0", carol.der, NAME, "behind the last"),
        (mq.make_join_request(carol, NAME, bytes(32)), carol.der, NAME, "another topic"),
    ):
        refused(lambda: mq.believe(request, certificate, ca, name, topic_id), why)


@case("who is let in by itself, and who not")
def _(people: People) -> None:
    log = three(people, join_policy=mq.JOIN_OPEN)
    topic_id = log.chain.topic_id

    def asks(who: Identity) -> mq.JoinRequest:
        return mq.believe(mq.make_join_request(who, NAME, topic_id), who.der, people.ca.certificate, NAME, topic_id)

    early = asks(people.carol)
    mq.check_admission(log.chain, early)
    refused(lambda: mq.check_admission(log.chain, asks(minica.issue(people.ca, "bob"))), "a name that another bears")
    log.amend(add=[(people.carol.certificate, mq.ROLE_MEMBER)])
    log.amend(remove=[people.carol.fingerprint])
    refused(lambda: mq.check_admission(log.chain, early), "removed or denied")  # shown again by the broker
    log.amend(join_policy=mq.JOIN_ASK)
    refused(lambda: mq.check_admission(log.chain, asks(people.bob)), "policy")


def main() -> int:
    people, failed = People(), 0
    for name, function in CASES:
        try:
            function(people)
        except (AssertionError, mq.ProtocolError, ValueError) as error:
            print(f"FAIL lie: {name}: {error!r}")
            failed += 1
    print(f"lies: {len(CASES)} cases")
    print(f"{len(CASES) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
