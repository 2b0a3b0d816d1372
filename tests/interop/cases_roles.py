"""The cases of owner, admins and recovery: who may change what, and what the broker says to the others."""

from __future__ import annotations

import threading
from typing import Any

import minica
import sealmq as mq
from cases_members import refused
from sealmq import Frame, Identity
from world import RawSession, World, flip, must, polite, refuse_code, rude


@polite("only the owner deletes a topic")
def _(world: World) -> None:
    name = world.topic_name()
    with world.client("alice") as alice, world.client("bob") as bob, world.client("carol") as carol:
        topic = alice.create(name, ["bob"])
        alice.amend(topic, change=[(world.bob.fingerprint, mq.ROLE_ADMIN)])
        bob.subscribe(name, mq.EARLIEST)
        for client in (bob, carol):
            must(refused(lambda: client.ask("Delete", name=name)).code == 22, "not refused with 22")
        must(refused(lambda: alice.ask("Delete", name=name + "/none")).code == 1, "not refused with 1")
        alice.publish(topic, b"still there")
        must(bob.receive().content == b"still there", "not delivered")
        alice.ask("Delete", name=name)
        for client in (alice, bob):
            handle = next(t for t in client.topics.values() if t.name == name)
            client.until(lambda: handle.ended is not None)
            must(handle.ended == 16, f"ended with {handle.ended}")
        must(alice.list_topics(name) == [], "still listed")
        must(refused(lambda: alice.open(name)).code == 1, "not refused with 1")
        again = bob.create(name, ["alice"])
        must(again.chain.topic_id != topic.chain.topic_id and again.incarnation != topic.incarnation, "the same topic")
        must(bob.publish(again, b"anew") == 2, "not from the beginning")


@polite("only the owner changes retention")
def _(world: World) -> None:
    name = world.topic_name()
    with world.client("alice") as alice, world.client("bob") as bob:
        topic = alice.create(name, ["bob"])
        alice.amend(topic, change=[(world.bob.fingerprint, mq.ROLE_ADMIN)])
        few = {"name": name, "retention": (3, 0, 0)}
        must(refused(lambda: bob.ask("SetRetention", **few)).code == 22, "not refused with 22")
        must(refused(lambda: alice.ask("SetRetention", **few | {"name": name + "/x"})).code == 1, "not refused with 1")
        alice.publish_all(topic, [b"%d" % i for i in range(10)])
        must(bob.entry(name).messages == 10, "not all kept")
        alice.ask("SetRetention", **few)
        must(tuple(bob.entry(name).retention) == (3, 0, 0), "the listing says otherwise")
        alice.publish(topic, b"10")
        bob.subscribe(name, mq.EARLIEST)
        must([m.content for m in bob.receive_past(name)] == [b"8", b"9", b"10"], "not the last three")


@polite("certificates are given by fingerprint, in the order asked")
def _(world: World) -> None:
    with world.client("alice") as alice:
        people = [world.dave, world.bob, world.mallory]  # mallory's was revoked
        wanted = [person.fingerprint for person in people]
        page = alice.ask("GetCertificates", "Clients", fingerprints=[wanted[0], bytes(32), *wanted[1:]])
        must([der for der, _ in page.clients] == [person.der for person in people], "others, or in another order")
        must(alice.ask("GetCertificates", "Clients", fingerprints=[]).clients == [], "some, though none was asked for")


@polite("an admin grants, and does not more than an admin may")
def _(world: World) -> None:
    name = world.topic_name()
    with world.client("alice") as alice, world.client("bob") as bob, world.client("carol") as carol:
        topic = alice.create(name, ["bob", "dave"], join_policy=mq.JOIN_ASK)
        alice.amend(topic, change=[(world.bob.fingerprint, mq.ROLE_ADMIN)])
        mine = bob.open(name)
        carol_member = [(world.carol.certificate, mq.ROLE_MEMBER)]
        for what, changes in {
            "adds an admin": {"add": [(world.carol.certificate, mq.ROLE_ADMIN)]},
            "adds for recovery": {"add": [(world.carol.certificate, mq.ROLE_RECOVERY)]},
            "makes an admin": {"change": [(world.dave.fingerprint, mq.ROLE_ADMIN)]},
            "sets the policy": {"join_policy": mq.JOIN_OPEN},
            "removes the owner": {"remove": [world.alice.fingerprint]},
            "removes an admin": {"remove": [world.bob.fingerprint]},
        }.items():
            new = bob.make_record(mine, **changes)
            must(refused(lambda: bob.append(mine, new)).code == 12, f"an admin {what}: not refused with 12")
        carol.join(name)
        request = bob.believed(mine, bob.requests(name)[0])
        bob.amend(mine, add=[(request.certificate, mq.ROLE_MEMBER)], new_epoch=True)
        must(carol.open(name).chain.newest.number == 1, "not granted, or not in a new epoch")
        bob.amend(mine, remove=[world.carol.fingerprint])
        bob.amend(mine, new_epoch=True)
        alice.amend(topic, change=[(world.bob.fingerprint, mq.ROLE_MEMBER)])
        bob.until(lambda: mine.chain.head == topic.chain.head)
        new = bob.make_record(mine, add=carol_member)
        must(refused(lambda: bob.append(mine, new)).code == 12, "a plain member grants")


@polite("records that the broker refuses")
def _(world: World) -> None:
    name = world.topic_name()
    with world.client("alice") as alice, world.client("bob") as bob:
        topic = alice.create(name, ["bob", "dave"])
        mine = bob.open(name)
        carol = [(world.carol.certificate, mq.ROLE_MEMBER)]
        stranger = [(minica.issue(Identity(world.ca, world.ca_key), "stranger").certificate, mq.ROLE_MEMBER)]

        def code(record: bytes, wraps: list[bytes], by: mq.Client = alice, on: mq.Topic = topic) -> int | None:
            return refuse_code(lambda: by.append(on, mq.NewRecord(record, wraps, b"")))

        def made(twist: Any = None, **changes: Any) -> tuple[bytes, list[bytes]]:
            new = alice.make_record(topic, twist=twist, **changes)
            return new.record, new.wraps

        def spoil(**fields: Any) -> Any:
            return lambda delta: delta.__dict__.update(fields)

        record, wraps = made(add=carol)
        bad = {
            "another's record": (code(record, wraps, bob, mine), 12),
            "a changed signature": (code(flip(record), wraps), 12),
            "bytes behind": (code(record + b"\0", wraps), 12),
            "no record": (code(b"", wraps), 12),
            "one whom the broker does not know": (code(*made(add=stranger)), 12),
            "no wrap": (code(record, []), 14),
            "a changed wrap": (code(record, [flip(wraps[0])]), 14),
            "a wrap too many": (code(record, wraps * 2), 14),
            "nothing changed": (code(*made()), 12),
            "a removal without an epoch": (code(*made(remove=[world.dave.fingerprint], new_epoch=False)), 12),
            "another member list": (code(*made(spoil(members_hash=bytes(32)), new_epoch=True)), 12),
            "another topic": (code(*made(spoil(topic_id=bytes(32)), add=carol)), 12),
            "another name for a member": (
                code(*made(spoil(added=[(world.carol.fingerprint, "karol", 0)]), add=carol)), 12,
            ),
            "an epoch too far": (code(*made(spoil(epoch=(2, bytes(32), bytes(105))), new_epoch=True)), 12),
            "no previous key": (code(*made(spoil(epoch=(1, bytes(32), b"")), new_epoch=True)), 12),
            "a reason with a line break": (code(*made(deny=[(world.carol.fingerprint, "no\nno")])), 12),
        }
        wrong = {what: found for what, (found, wanted) in bad.items() if found != wanted}
        must(not wrong, f"{wrong}")
        must(topic.chain.number == 1, "one of them was taken")
        alice.append(topic, mq.NewRecord(record, wraps, b""))
        handle = topic.handle + 1000
        must(refuse_code(lambda: alice.ask("Append", topic=handle, record=record)) == 9, "not refused with 9")


@polite("two admins at once: one is told to make its record anew")
def _(world: World) -> str:
    name, rounds = world.topic_name(), 15
    with world.client("alice") as alice, world.client("bob") as bob:
        topic = alice.create(name, ["bob", "dave"])
        alice.amend(topic, change=[(world.bob.fingerprint, mq.ROLE_ADMIN)])
        mine = bob.open(name)
        stale = bob.make_record(mine, new_epoch=True)
        alice.amend(topic, add=[(world.carol.certificate, mq.ROLE_MEMBER)])
        must(refused(lambda: bob.append(mine, stale)).code == 13, "not refused with 13")
        bob.amend(mine, new_epoch=True)
        problems: list[str] = []

        def rotate(client: mq.Client, handle: mq.Topic) -> None:
            try:
                for _ in range(rounds):
                    client.amend(handle, new_epoch=True)
            except Exception as error:
                problems.append(repr(error))

        threads = [threading.Thread(target=rotate, args=pair) for pair in ((alice, topic), (bob, mine))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        must(not problems, f"{problems}")
        for client, handle in ((alice, topic), (bob, mine)):
            client.until(lambda: handle.chain.number == 4 + 2 * rounds)
        must(topic.chain.head == mine.chain.head and topic.chain.newest.key == mine.chain.newest.key, "two chains")
        return f"{topic.chain.number} records"


@polite("a recovery member: a certificate that never connected can read all")
def _(world: World) -> None:
    must(world.ca_key is not None, "found no CA key in the home")
    vault, late = (minica.issue(Identity(world.ca, world.ca_key), who) for who in ("vault", "vault2"))
    foreign = minica.issue(minica.make_ca(), "vault3")
    name = world.topic_name()
    with world.client("alice") as alice, world.client("bob") as bob:
        new = mq.make_topic(world.alice, name, [(vault.certificate, mq.ROLE_RECOVERY), (world.bob.certificate, 0)])
        must(refuse_code(lambda: alice.create_from(name, new)) == 12, "an unknown certificate is not refused with 12")
        alice.send(Frame("RecoveryCertificate", {"certificate": vault.der}))
        topic = alice.create_from(name, new)
        alice.publish(topic, b"before the fire")
        mine = bob.open(name)
        must(mine.chain.members[vault.fingerprint].role == mq.ROLE_RECOVERY, "not seen as what it is")
        must(bob.certificates([vault.fingerprint]).keys() == {vault.fingerprint}, "its certificate is not known")

        another = alice.make_record(topic, add=[(foreign.certificate, mq.ROLE_RECOVERY)])
        alice.send(Frame("RecoveryCertificate", {"certificate": foreign.der}))
        must(refused(lambda: alice.append(topic, another)).code == 12, "of another CA: not refused with 12")
        alice.send(Frame("RecoveryCertificate", {"certificate": late.der}))
        alice.amend(topic, add=[(late.certificate, mq.ROLE_RECOVERY)], new_epoch=True)
        alice.publish(topic, b"after it")
    for person in (vault, late):
        with mq.Client.connect(world.host, world.port, person, world.ca) as found:
            found.subscribe(name, mq.EARLIEST)
            past = [message.content for message in found.receive_past(name)]
            must(past == [b"before the fire", b"after it"], f"{person.name} recovers {past}")
            handle = found.topic(name)
            must(refused(lambda: found.publish(handle, b"me too")).code == 22, "it may publish")
            must(not found.dropped, f"{found.dropped}")


# Delegations that the broker does not take


def rude_delegation(name: str, make: Any) -> None:
    @rude(f"delegation {name}")
    def _(world: World) -> str:
        with RawSession(world) as session:
            good = mq.Publisher.new(world.alice)
            session.name_publisher(good)
            session.alive()
            publisher_id, delegation = make(world, good)
            session.frames(Frame("Publisher", {"slot": 1, "publisher": publisher_id, "delegation": delegation}))
            return session.ended(2)


def of(world: World, good: mq.Publisher, **fields: Any) -> mq.Delegation:
    """The good delegation, with other fields; still to be signed."""
    key = good.key.public_key().public_bytes_raw()
    now = mq.now_ms()
    values = {
        "sender": world.alice.fingerprint, "publisher": good.id, "key": key, "not_before": now,
        "not_after": now + mq.DELEGATION_MS,
    }
    return mq.Delegation(**values | fields)


rude_delegation("empty", lambda world, good: (good.id, b""))
rude_delegation("of another client", lambda world, good: (good.id, mq.Publisher.new(world.bob, good.id).delegation))
rude_delegation("of another publisher id", lambda world, good: (bytes(16), good.delegation))
rude_delegation("with a changed signature", lambda world, good: (good.id, flip(good.delegation)))
rude_delegation("with another key", lambda world, good: (good.id, flip(good.delegation, 60)))
rude_delegation("with other times", lambda world, good: (good.id, flip(good.delegation, 90)))
rude_delegation("with bytes behind", lambda world, good: (good.id, good.delegation + b"\0"))
rude_delegation("of version 2", lambda world, good: (good.id, b"\2" + good.delegation[1:]))
rude_delegation(
    "signed by another", lambda world, good: (good.id, of(world, good).encode(world.bob.key))
)
rude_delegation(
    "of another's fingerprint",
    lambda world, good: (good.id, of(world, good, sender=world.bob.fingerprint).encode(world.alice.key)),
)
rude_delegation(
    "for a key of small order",
    lambda world, good: (good.id, of(world, good, key=b"\1" + bytes(31)).encode(world.alice.key)),
)


@rude("a record of another kind where a delegation's should be signed")
def _(world: World) -> str:
    """A signature that was made for something else is none for this."""
    with RawSession(world) as session:
        good = mq.Publisher.new(world.alice)
        unsigned = good.delegation[: -2 - world.alice.key.key_size // 8]
        signature = mq.pss_sign(world.alice.key, "sealmq/1 join request", mq.sha256(unsigned))
        forged = unsigned + mq.bytes16(signature)
        session.frames(Frame("Publisher", {"slot": 0, "publisher": good.id, "delegation": forged}))
        return session.ended(2)
