"""The cases of clients that break rules in a session, and what the page says they get."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from typing import Callable

import sealmq as mq
from sealmq import Frame
from world import Failed, Raw, RawSession, World, flip, must, refuse_code, rude


# Records


def rude_record(name: str) -> Callable[[Callable[[RawSession], None]], None]:
    """A case that breaks a rule in a session, which has to end."""

    def register(function: Callable[[RawSession], None]) -> None:
        @rude(name)
        def _(world: World) -> str:
            with RawSession(world) as session:
                function(session)
                return session.ended(2)

    return register


@rude_record("wrong sequence number")
def _(session: RawSession) -> None:
    session.outgoing.sequence += 1
    session.raw(b"")


@rude_record("a repeated record")
def _(session: RawSession) -> None:
    record = session.outgoing.seal([Frame("Ping", {"number": 1})])
    session.write(record + record)


@rude_record("a record of another session")
def _(session: RawSession) -> None:
    with RawSession(session.world) as other:
        session.write(other.outgoing.seal([Frame("Ping", {"number": 1})]))


@rude_record("a record sent back to the broker")
def _(session: RawSession) -> None:
    session.outgoing.key = session.incoming.key
    session.frames(Frame("Ping", {"number": 1}))


@rude_record("flipped bit in a token's MAC")
def _(session: RawSession) -> None:
    session.write(flip(session.outgoing.seal([Frame("Ping", {"number": 1})])))


@rude_record("flipped bit in a token's ciphertext")
def _(session: RawSession) -> None:
    session.write(flip(session.outgoing.seal([Frame("Ping", {"number": 1})]), 40))


@rude_record("token of 65537 bytes")
def _(session: RawSession) -> None:
    session.write(mq.u32(65537) + bytes(1000))


@rude_record("token of 4 GiB")
def _(session: RawSession) -> None:
    session.write(b"\xff\xff\xff\xff" + bytes(1000))


@rude_record("token of 0 bytes")
def _(session: RawSession) -> None:
    session.write(bytes(4))


@rude_record("body with a wrong hash")
def _(session: RawSession) -> None:
    handle, body = session.topic(), os.urandom(5000)
    frame, _ = mq.encode_frame(
        Frame("Publish", {"slot": 0, "topic": handle, "epoch": 0, "counter": 0, "body": body})
    )
    session.raw(frame, flip(body))


@rude_record("body of 3 MiB")
def _(session: RawSession) -> None:
    payload = mq.u16(0) + mq.u32(session.topic()) + mq.u32(0) + mq.u64(0) + mq.u8(0) + mq.u32(3 << 20) + bytes(32)
    session.raw(mq.frame_bytes(0x15, payload))


@rude_record("bodies of 4 GiB each")
def _(session: RawSession) -> None:
    payload = mq.u16(0) + mq.u32(session.topic()) + mq.u32(0) + mq.u64(0) + mq.u8(0) + mq.u32(2**32 - 1) + bytes(32)
    session.raw(mq.frame_bytes(0x15, payload) * 5)


@rude_record("body longer than allowed")
def _(session: RawSession) -> None:
    session.publish(session.topic(), 0, os.urandom(mq.MAX_BODY + 1))


@rude_record("a body neither inside nor behind")
def _(session: RawSession) -> None:
    payload = mq.u16(0) + mq.u32(session.topic()) + mq.u32(0) + mq.u64(0) + mq.u8(2) + mq.bytes16(b"abc")
    session.raw(mq.frame_bytes(0x15, payload))


@rude("cut in the middle of a body")
def _(world: World) -> None:
    with RawSession(world) as session:
        handle = session.topic()
        body = os.urandom(100_000)
        fields = {"slot": 0, "topic": handle, "epoch": 0, "counter": 0, "body": body}
        session.write(session.outgoing.seal([Frame("Publish", fields)])[:-50_000])


# Frames

rude_frames = {
    "unknown frame type": mq.frame_bytes(0x7F, b""),
    "frame type 0": mq.frame_bytes(0, b""),
    "a broker's frame from a client": mq.frame_bytes(0x41, mq.u32(1)),
    "trailing bytes in a frame": mq.frame_bytes(0x01, bytes(9)),
    "a frame too short": mq.frame_bytes(0x01, bytes(7)),
    "a frame longer than its record": mq.u8(1) + mq.u16(9) + bytes(8),
    "half a frame header": mq.u8(1) + b"\0",
    "a flag of 2": mq.frame_bytes(0x1C, mq.u8(2)),
    "a text that is not UTF-8": mq.frame_bytes(0x11, mq.u32(1) + mq.bytes16(b"\xff\xfe") + bytes(17)),
    "an unknown start": mq.frame_bytes(0x11, mq.u32(1) + mq.str16("a") + mq.u8(9) + bytes(16)),
    "slot 16": mq.frame_bytes(0x14, mq.u16(16) + bytes(16) + mq.bytes16(b"")),
    "a list longer than its frame": mq.frame_bytes(0x16, mq.u16(65535)),
}
for _name, _frame in rude_frames.items():
    rude_record(_name)(lambda session, frame=_frame: session.raw(frame))


@rude("Close with a wrong sequence")
def _(world: World) -> str:
    with RawSession(world) as session:
        session.raw(mq.frame_bytes(0x03, mq.u64(5) + mq.u16(0) + mq.str16("")))
        try:
            session.incoming.read(session.read)
        except ConnectionError:  # a Close, even a bad one, is not answered
            return "cut"
        raise Failed("it was answered")


# Rude, but the session goes on


@rude("publish to an unknown handle or slot")
def _(world: World) -> None:
    with RawSession(world) as session:
        handle = session.topic()
        for bad_handle, slot in ((handle + 1000, 0), (0xFFFFFFFF, 0), (handle, 9)):
            session.publish(bad_handle, 0, b"x" * 200, slot)
            answer = session.wait("PublishRefused", "Published")
            must(answer.kind == "PublishRefused" and answer.code == 9, f"{answer}")
        session.alive()


@rude("counter ahead")
def _(world: World) -> None:
    with RawSession(world) as session:
        handle = session.topic()
        session.publish(handle, 5, b"x" * 200)
        answer = session.wait("PublishRefused", "Published")
        must(answer.kind == "PublishRefused" and (answer.code, answer.detail) == (10, 0), f"{answer}")
        session.alive()


@rude("an epoch that does not exist")
def _(world: World) -> None:
    with world.client("alice") as alice:
        topic = alice.create(world.topic_name(), [])
        alice.send_body(topic.handle, 7, 0, b"x" * 300)
        try:
            alice.published(topic, 0)
        except mq.RequestRefused as error:
            must((error.code, error.detail) == (11, 0), str(error))
        else:
            raise Failed("it was stored")
        must(alice.publish(topic, b"good") == 2, "the refused counter was used up")


def rude_create(name: str, code: int, change: Callable[[mq.NewTopic], None]) -> None:
    @rude(name)
    def _(world: World) -> None:
        with world.client("alice") as alice:
            topic_name = world.topic_name()
            new = mq.make_topic(world.alice, topic_name, [(world.bob.certificate, 0)])
            change(new)
            found = refuse_code(lambda: alice.create_from(topic_name, new))
            must(found == code, f"refused with {found}, not {code}")
            good = mq.make_topic(world.alice, topic_name, [(world.bob.certificate, 0)])
            alice.create_from(topic_name, good)


def change_delta(new: mq.NewTopic) -> None:
    new.delta = flip(new.delta)


def change_genesis(new: mq.NewTopic) -> None:
    new.genesis = flip(new.genesis)


rude_create("create with a wrong signature on the delta", 12, change_delta)
rude_create("create with a wrong signature on the genesis", 12, change_genesis)
rude_create("create without wraps", 14, lambda new: new.wraps.clear())
rude_create("create with wraps in another order", 14, lambda new: new.wraps.reverse())
rude_create("create with a wrong wrap", 14, lambda new: new.wraps.__setitem__(0, flip(new.wraps[0])))


@rude("create in another's name")
def _(world: World) -> str:
    with world.client("bob") as bob:
        name = world.topic_name()
        code = refuse_code(lambda: bob.create_from(name, mq.make_topic(world.alice, name)))
        must(code == 12, f"refused with {code}")


@rude("create under another name than the genesis")
def _(world: World) -> None:
    with world.client("alice") as alice:
        name = world.topic_name()
        code = refuse_code(lambda: alice.create_from(name + "/x", mq.make_topic(world.alice, name)))
        must(code == 12, f"refused with {code}")


# Rude by being slow or loud


@rude("half a hello, half a record, then silence")
def _(world: World) -> None:
    with contextlib.ExitStack() as stack:
        silent = []
        for _ in range(10):
            raw = stack.enter_context(Raw(world))
            raw.write(mq.handshake_message(mq.CLIENT_HELLO, raw.handshake.hello())[:20])
            session = stack.enter_context(RawSession(world))
            session.write(session.outgoing.seal([Frame("Ping", {"number": 1})])[:50])
            silent.append(session)
        handle = session_with_half_body(stack, world)
        must(handle > 0, "no topic")
        started = time.monotonic()
        name = world.topic_name()
        with world.client("alice") as alice, world.client("bob") as bob:
            topic = alice.create(name, ["bob"])
            bob.subscribe(name, mq.LATEST)
            for i in range(10):
                alice.publish(topic, b"%d" % i)
                must(bob.receive(2).content == b"%d" % i, "another message")
        must(time.monotonic() - started < 3, "the silent ones hold up others")


def session_with_half_body(stack: contextlib.ExitStack, world: World) -> int:
    session = stack.enter_context(RawSession(world))
    handle = session.topic()
    fields = {"slot": 0, "topic": handle, "epoch": 0, "counter": 0, "body": os.urandom(100_000)}
    session.write(session.outgoing.seal([Frame("Publish", fields)])[:-50_000])
    return handle


@rude("ping flood without reading")
def _(world: World) -> None:
    count = 8_000
    with RawSession(world) as session:
        flood = b"".join(session.outgoing.seal([Frame("Ping", {"number": i})]) for i in range(count))
        sender = threading.Thread(target=quietly, args=(session.write, flood), daemon=True)
        sender.start()
        started = time.monotonic()
        with world.client("bob") as bob:
            for _ in range(5):
                bob.ping()
        must(time.monotonic() - started < 3, "the flood holds up others")
        pongs = 0
        try:
            while pongs < count:
                for frame in session.incoming.read(session.read):
                    must(frame.kind == "Pong" and frame.number == pongs, f"{frame} instead of Pong {pongs}")
                    pongs += 1
        except ConnectionError:
            raise Failed(f"cut behind {pongs} pongs") from None
        except TimeoutError:
            raise Failed(f"silence behind {pongs} of {count} pongs") from None
        sender.join(5)


def quietly(write: Callable[[bytes], None], data: bytes) -> None:
    with contextlib.suppress(OSError):
        write(data)


@rude("a subscriber that does not read")
def _(world: World) -> None:
    name = world.topic_name()
    with world.client("alice") as alice, RawSession(world) as deaf, world.client("bob") as bob:
        topic = alice.create(name, ["bob"])
        deaf.frames(Frame("Subscribe", {"request": 1, "filter": name, "start": mq.EARLIEST}))
        bob.subscribe(name, mq.EARLIEST)
        contents = [bytes([i]) * 500_000 for i in range(24)]
        alice.publish_all(topic, contents)
        got = [bob.receive(5).content for _ in contents]
        must(got == contents, "the one that reads does not get all")


@rude("connections that end at once")
def _(world: World) -> None:
    for _ in range(200):
        sock = socket.create_connection((world.host, world.port), 5)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closes with a reset
        sock.close()
