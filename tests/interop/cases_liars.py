"""The cases of those who lie: a member under the topic's key, and a broker between the real one and the client.

`sealmq sub` and the Python client have to take the same messages, and neither may take a lie.
"""

from __future__ import annotations

from typing import Callable, Sequence

import minica
import sealmq as mq
from relay import Lie, Relay
from sealmq import Client, Frame, Identity
from world import SUB, World, flip, must, polite


def lines(contents: Sequence[bytes]) -> str:
    return "".join(content.decode() + "\n" for content in contents)


def check_sub(world: World, topic: str, contents: Sequence[bytes], port: int, lied: bool = True) -> None:
    """`sealmq sub` prints just these, and complains if there was a lie: with --strict, also by its exit code."""
    code, output, problems = world.try_run([*SUB, "-e", "--strict"], topic=topic, port=str(port))
    must(output == lines(contents), f"sealmq sub printed {output!r}, with {code} and {problems!r}")
    must(bool(problems) == lied, f"sealmq sub said {problems!r}, with {code}")
    must(code == (7 if lied else 0), f"sealmq sub ended with {code}, having said {problems!r}")


# A member


@polite("a member that lies: who has the topic's key cannot speak for another")
def _(world: World) -> str:
    name, elsewhere = world.topic_name(), world.topic_name()
    with world.client("alice") as alice, world.client("carol") as carol:
        topic = alice.create(name, ["bob", "carol", "dave"])
        other = alice.create(elsewhere, ["carol"])
        alice.publish_all(topic, [b"order 1", b"order 2"])
        alice.subscribe(name, mq.EARLIEST)
        must(len(alice.receive_past(name)) == 2, "alice does not read her own")
        alice.unsubscribe(name)
        mine = carol.open(name)
        lies = forged(world, alice, topic, carol, mine, other)
        for counter, (_, body) in enumerate(lies):
            carol.send_body(mine.handle, mine.chain.newest.number, counter, body(counter))
            carol.published(mine, counter)  # the broker cannot know
        carol.counters[name] = len(lies)
        carol.publish(mine, b"truly carol")
        alice.publish(topic, b"order 3")
    contents = [b"order 1", b"order 2", b"truly carol", b"order 3"]
    with world.client("bob", clean=False) as bob:
        bob.subscribe(name, mq.EARLIEST)
        must([m.content for m in bob.receive_past(name)] == contents, "the Python client took a lie")
        said = [dropped.why for dropped in bob.dropped]
        wrong = [(why, found) for (why, _), found in zip(lies, said) if why not in found]
        must(len(said) == len(lies) and not wrong, f"dropped {said}")
        must(not bob.missing, f"missed {bob.missing}")
    check_sub(world, name, contents, world.port)
    return f"{len(lies)} lies"


Forged = list[tuple[str, Callable[[int], bytes]]]


def forged(
    world: World, alice: Client, topic: mq.Topic, carol: Client, mine: mq.Topic, elsewhere: mq.Topic
) -> Forged:
    """What carol can make with the key of the topic, and why it is not taken."""
    topic_id, epoch = mine.chain.topic_id, mine.chain.newest
    her, own = alice.publisher, carol.publisher
    genuine = mq.fernet_open(mq.body_key(topic_id, epoch), topic.bodies[3].body)
    signed, signature = genuine[: -mq.SIGNATURE_LENGTH], genuine[-mq.SIGNATURE_LENGTH :]
    fake = mq.Publisher.new(Identity(world.alice.certificate, world.carol.key), her.id)
    other = "another topic, epoch, sender or message"

    def seal(signed: bytes, signature: bytes) -> bytes:
        return mq.seal_signed(topic_id, epoch, signed, signature)

    def fields(publisher: mq.Publisher, counter: int, content: bytes = b"forged", kind: int = 1) -> bytes:
        return mq.signed_fields(topic_id, epoch, publisher.id, counter, kind) + content

    def own_fields(counter: int) -> bytes:
        return fields(own, counter)

    return [
        ("wrong signature", lambda n: seal(own_fields(n), signature)),
        ("wrong signature", lambda n: seal(own_fields(n), mq.sign_message(her, own_fields(n)))),
        ("wrong signature", lambda n: seal(own_fields(n), mq.sign_message(fake, own_fields(n)))),
        ("wrong signature", lambda n: seal(own_fields(n) + b"!", mq.sign_message(own, own_fields(n)))),
        ("wrong signature", lambda n: seal(own_fields(n), flip(mq.sign_message(own, own_fields(n)), 5))),
        ("small order", lambda n: seal(own_fields(n), b"\1" + bytes(63))),
        ("too large", lambda n: seal(own_fields(n), signature[:32] + b"\xff" * 32)),
        (other, lambda n: seal(signed, signature)),
        (other, lambda n: seal(fields(her, n), mq.sign_message(own, fields(her, n)))),
        (other, lambda n: seal(fields(her, 2), mq.sign_message(fake, fields(her, 2)))),
        (other, lambda n: seal(own_fields(n + 1), mq.sign_message(own, own_fields(n + 1)))),
        ("unsigned", lambda n: seal(fields(own, n, kind=0), mq.sign_message(own, fields(own, n, kind=0)))),
        ("unsigned", lambda n: seal(fields(own, n, kind=0), bytes(64))),
        ("too short", lambda n: seal(fields(own, n, b"", kind=0), b"")),
        (other, lambda n: mq.fernet_seal(
            mq.body_key(topic_id, epoch),
            (of := mq.signed_fields(elsewhere.chain.topic_id, elsewhere.chain.newest, own.id, n) + b"moved")
            + mq.sign_message(own, of),
        )),
        ("does not open", lambda n: mq.seal_body(elsewhere.chain.topic_id, elsewhere.chain.newest, own, n, b"moved")),
        ("does not open", lambda n: b"\x80" + bytes(200)),
        ("does not open", lambda n: b""),
    ]


# A broker


def lying(
    name: str, contents: Sequence[bytes], make: Callable[[World], Lie], reported: bool = True
) -> None:
    """A topic with messages 2 and 3 of alice, 4 of bob, a rotation at 5 and 6 of alice, told by a liar."""

    @polite("a broker that lies: " + name)
    def _(world: World) -> None:
        topic_name = world.topic_name()
        with world.client("alice") as alice, world.client("bob") as bob:
            topic = alice.create(topic_name, ["bob", "dave"])
            alice.publish_all(topic, [b"one", b"two"])
            bob.publish(bob.open(topic_name), b"three")
            alice.amend(topic, new_epoch=True)
            alice.publish(topic, b"four")
        with Relay(world, make(world)) as relay:
            with Client.connect(world.host, relay.port, world.dave, world.ca) as dave:
                dave.subscribe(topic_name, mq.EARLIEST)
                past = dave.receive_past(topic_name)
                must([m.content for m in past] == list(contents), f"the Python client took {past}")
                broken = dave.topic(topic_name).broken
                must(reported == bool(dave.dropped or dave.missing or broken), f"it reported {dave.dropped}")
        with Relay(world, make(world)) as relay:
            check_sub(world, topic_name, contents, relay.port, reported)


ALL = [b"one", b"two", b"three", b"four"]


def on(kind: str, change: Callable[[Frame], list[Frame]], **where: int) -> Callable[[World], Lie]:
    """Changes the frames of this kind that have these fields."""

    def lie(frame: Frame) -> list[Frame]:
        chosen = frame.kind == kind and all(frame.fields[key] == value for key, value in where.items())
        return change(frame) if chosen else [frame]

    return lambda world: lie


def put(**fields: object) -> Callable[[Frame], list[Frame]]:
    return lambda frame: [Frame(frame.kind, frame.fields | fields)]


def swapped(*keys: str) -> Callable[[World], Lie]:
    """Messages 2 and 3 with these fields of each other."""

    def make(world: World) -> Lie:
        first: list[Frame] = []

        def lie(frame: Frame) -> list[Frame]:
            if frame.kind != "Message" or frame.offset not in (2, 3):
                return [frame]
            if frame.offset == 2:
                first.append(frame)
                return []
            one, two = first.pop(), frame
            return [
                Frame("Message", one.fields | {key: two.fields[key] for key in keys}),
                Frame("Message", two.fields | {key: one.fields[key] for key in keys}),
            ]

        return lie

    return make


def another_certificate(world: World) -> Lie:
    """A certificate of the right name, made by the same CA afterwards, for the sender of the first messages."""
    made = minica.issue(Identity(world.ca, world.ca_key), "alice")

    def lie(frame: Frame) -> list[Frame]:
        if frame.kind != "Sender" or frame.name != "alice":
            return [frame]
        delegation = mq.Publisher.new(made, frame.publisher).delegation
        fields = {"certificate": made.der, "fingerprint": made.fingerprint, "delegation": delegation}
        return [Frame("Sender", frame.fields | fields)]

    return lie


def as_bob(world: World) -> Lie:
    """Another name for a sender, and the certificate that goes with it."""

    def lie(frame: Frame) -> list[Frame]:
        if frame.kind != "Sender" or frame.name != "alice":
            return [frame]
        return [Frame("Sender", frame.fields | {"name": "bob", "certificate": world.bob.der})]

    return lie


def old_delegation(world: World) -> Lie:
    """A delegation of the same member, for an id of another day."""
    other = mq.Publisher.new(world.alice)

    def lie(frame: Frame) -> list[Frame]:
        if frame.kind != "Sender" or frame.name != "alice":
            return [frame]
        return [Frame("Sender", frame.fields | {"delegation": other.delegation})]

    return lie


lying("it does not", ALL, on("Ping", lambda frame: [frame]), reported=False)
lying("it drops a message", [b"one", b"three", b"four"], on("Message", lambda frame: [], offset=3))
lying("it repeats a message", ALL, on("Message", lambda frame: [frame, frame], offset=3))
lying("it puts two messages in each other's place", [b"two", b"three", b"four"], swapped("counter", "body"))
lying("it swaps two bodies", [b"three", b"four"], swapped("body"))
lying("it changes a body", [b"one", b"three", b"four"], on("Message", put(body=b"\x80" + bytes(300)), offset=3))
lying("it changes a counter", [b"one", b"three", b"four"], on("Message", put(counter=7), offset=3))
lying("it states another epoch", [b"one", b"three", b"four"], on("Message", put(epoch=1), offset=3))
lying("it gives a certificate of the right name, made later", [b"three"], another_certificate)
lying("it gives a sender another's name", [b"three"], as_bob)
lying("it gives another delegation", [b"three"], old_delegation)
lying("it drops the newest record", ALL[:3], on("Record", lambda frame: [], offset=5))
lying("it changes the newest record", [], on(
    "Record", lambda frame: put(record=flip(frame.record))(frame), offset=5,
))
lying("it changes a wrap", [], on("Record", lambda frame: put(wrap=flip(frame.wrap))(frame), offset=5))
