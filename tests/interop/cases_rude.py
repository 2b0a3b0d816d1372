"""The cases of clients that break rules, and what the page says they get."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from typing import Callable


import minica
import sealmq as mq
from sealmq import Frame, Identity
from world import Failed, Raw, RawSession, World, must, refuse_code, rude


# Before ClientAuth: refused in clear


def rude_bytes(name: str, data: bytes, code: int) -> None:
    @rude(name)
    def _(world: World) -> str:
        with Raw(world) as raw:
            raw.write(data)
            return raw.refused(code, sealed=False)


rude_bytes("garbage: HTTP", b"GET / HTTP/1.1\r\n\r\n", 4)
rude_bytes("garbage: a TLS hello", bytes.fromhex("1603010200010001fc0303") + bytes(16), 4)
rude_bytes("length 4 GiB", b"\xff\xff\xff\xff\x01", 4)
rude_bytes("length 8193", mq.u32(8193) + b"\1", 4)
rude_bytes("length 0", bytes(4), 2)
rude_bytes("unknown handshake type", mq.handshake_message(99, bytes(72)), 2)
rude_bytes("ClientAuth first", mq.handshake_message(mq.CLIENT_AUTH, bytes(100)), 3)
rude_bytes("ClientReady first", mq.handshake_message(mq.CLIENT_READY, bytes(32)), 3)
rude_bytes("BrokerHello from a client", mq.handshake_message(mq.BROKER_HELLO, bytes(100)), 3)
rude_bytes("a hello too short", mq.handshake_message(mq.CLIENT_HELLO, mq.MAGIC + mq.u16(1) + bytes(63)), 2)
rude_bytes("a hello too long", mq.handshake_message(mq.CLIENT_HELLO, mq.MAGIC + mq.u16(1) + b"\1" * 65), 2)
rude_bytes("wrong magic", mq.handshake_message(mq.CLIENT_HELLO, b"SEALMX" + mq.u16(1) + b"\1" * 64), 2)
rude_bytes("wrong version", mq.handshake_message(mq.CLIENT_HELLO, mq.MAGIC + mq.u16(2) + b"\1" * 64), 1)
rude_bytes("wrong version, another length", mq.handshake_message(mq.CLIENT_HELLO, mq.MAGIC + mq.u16(2) + b"\1"), 1)
rude_bytes("an all-zero X25519 key", mq.handshake_message(1, mq.MAGIC + mq.u16(1) + b"\1" * 32 + bytes(32)), 2)


# In ClientAuth's place


@rude("a second ClientHello instead of ClientAuth")
def _(world: World) -> str:
    with Raw(world) as raw:
        raw.to_auth()
        raw.send(mq.CLIENT_HELLO, raw.handshake.hello())
        return raw.refused(3, sealed=False)


@rude("ClientReady instead of ClientAuth")
def _(world: World) -> str:
    with Raw(world) as raw:
        raw.to_auth()
        raw.send(mq.CLIENT_READY, bytes(32))
        return raw.refused(3, sealed=False)


def rude_auth(name: str, code: int, make: Callable[[World, Raw, bytes], bytes]) -> None:
    @rude(name)
    def _(world: World) -> str:
        with Raw(world) as raw:
            raw.send(mq.CLIENT_AUTH, make(world, raw, raw.to_auth()))
            return raw.refused(code, sealed=True)


def flip(data: bytes, at: int = -1) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


rude_auth("flipped bit in ClientAuth's MAC", 17, lambda world, raw, auth: flip(auth))
rude_auth("flipped bit in ClientAuth's ciphertext", 17, lambda world, raw, auth: flip(auth, 30))
rude_auth("an empty ClientAuth", 17, lambda world, raw, auth: b"")
rude_auth(
    "flipped signature", 17,
    lambda world, raw, auth: raw.handshake.seal_auth(world.alice.der, flip(raw.handshake.signature)),
)
rude_auth(
    "an empty signature", 17, lambda world, raw, auth: raw.handshake.seal_auth(world.alice.der, b"")
)
rude_auth(
    "garbage for a certificate", 10,
    lambda world, raw, auth: raw.handshake.seal_auth(b"\x30\x03garbage", raw.handshake.signature),
)
rude_auth(
    "bytes behind the certificate", 10,
    lambda world, raw, auth: raw.handshake.seal_auth(world.alice.der + b"\0", raw.handshake.signature),
)
rude_auth(
    "trailing bytes in ClientAuth", 2,
    lambda world, raw, auth: mq.fernet_seal(
        mq.kdf(raw.handshake.dh, raw.handshake.th1, "hs"),
        mq.bytes16(world.alice.der) + mq.bytes16(raw.handshake.signature) + b"\0",
    ),
)


def rude_identity(name: str, code: int, make: Callable[[World], Identity]) -> None:
    @rude(name)
    def _(world: World) -> str:
        with Raw(world, make(world)) as raw:
            raw.send(mq.CLIENT_AUTH, raw.to_auth())
            return raw.refused(code, sealed=True)


rude_identity("certificate of another CA", 14, lambda world: minica.issue(minica.make_ca(), "alice"))
rude_identity(
    "certificate of another CA with the same name", 14,
    lambda world: minica.issue(minica.make_ca(), "alice", issuer_name=world.ca.subject),
)
rude_identity("self-signed certificate", 14, lambda world: minica.issue(None, "alice"))
rude_identity(
    "certificate used with the wrong key", 17, lambda world: Identity(world.alice.certificate, world.bob.key)
)
rude_identity("broker's certificate for a client", 16, lambda world: world.identities["broker"])


def with_ca(make: Callable[[Identity], Identity]) -> Callable[[World], Identity]:
    """An identity made with the CA's own key."""

    def made(world: World) -> Identity:
        must(world.ca_key is not None, "found no CA key in the home")
        return make(Identity(world.ca, world.ca_key))

    return made


rude_identity("expired certificate", 11, with_ca(lambda ca: minica.issue(ca, "alice", days=(-2, -1))))
rude_identity("certificate not yet valid", 12, with_ca(lambda ca: minica.issue(ca, "alice", days=(1, 2))))
rude_identity(
    "certificate with a key of 1024 bits", 10, with_ca(lambda ca: minica.issue(ca, "alice", key=minica.new_key(1024)))
)


@rude("ClientAuth of another connection")
def _(world: World) -> str:
    with Raw(world) as first, Raw(world) as second:
        auth = first.to_auth()
        second.to_auth()
        second.send(mq.CLIENT_AUTH, auth)
        second_end = second.refused(17, sealed=True)
        # The content of the one, sealed for the other.
        with Raw(world) as third:
            third.to_auth()
            third.send(mq.CLIENT_AUTH, third.handshake.seal_auth(world.alice.der, first.handshake.signature))
            third.refused(17, sealed=True)
        return second_end


# In ClientReady's place


@rude("ClientAuth instead of ClientReady")
def _(world: World) -> str:
    with Raw(world) as raw:
        auth = raw.to_auth()
        raw.send(mq.CLIENT_AUTH, auth)
        raw.receive(mq.SESSION_KEY)
        raw.send(mq.CLIENT_AUTH, auth)
        return raw.refused(3, sealed=True)


@rude("wrong ClientReady")
def _(world: World) -> str:
    with Raw(world) as raw:
        raw.send(mq.CLIENT_READY, flip(raw.to_ready()))
        return raw.refused(17, sealed=True)


@rude("a record instead of ClientReady")
def _(world: World) -> str:
    with Raw(world) as raw:
        raw.to_ready()
        raw.write(mq.Direction(raw.handshake.send_key).seal([Frame("Ping", {"number": 1})]))
        return raw.refused(2, sealed=True)


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


class Slow:
    """Connections that never come to ClientReady; they are let wait while other cases run."""

    def __init__(self, world: World):
        self.started = time.monotonic()
        self.silent, self.half, self.late, self.slow = (Raw(world) for _ in range(4))
        hello = mq.handshake_message(mq.CLIENT_HELLO, self.half.handshake.hello())
        self.half.write(hello[:20])
        self.late.to_auth()
        threading.Thread(target=self._drip, args=(hello,), daemon=True).start()

    def _drip(self, hello: bytes) -> None:
        with contextlib.suppress(OSError):
            for at in range(len(hello)):
                self.slow.sock.sendall(hello[at : at + 1])
                time.sleep(1)

    def refused(self) -> str:
        """After 10 s the broker has refused them all with 6."""
        time.sleep(max(0.0, self.started + 10 - time.monotonic()))
        ends = []
        for raw in (self.silent, self.half, self.late, self.slow):
            with raw:
                ends.append(raw.refused(6, sealed=False))
        return ends[0]
