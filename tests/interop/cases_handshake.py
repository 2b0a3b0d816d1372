"""The cases of clients that break rules before their session has begun, and what the page says they get."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Callable

import minica
import sealmq as mq
from sealmq import Frame, Identity
from world import Failed, Raw, World, flip, must, rude


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
