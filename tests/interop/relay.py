"""A broker that lies: it has the real broker's key, passes frames on, and changes some on the way to the client.

It dials the real broker as the client itself would, which no broker could; that stands for a log that the liar holds.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import Callable

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

import sealmq as mq
from sealmq import Frame, Identity
from world import RawSession, World

# Gives what is sent in place of a frame from the broker.
Lie = Callable[[Frame], list[Frame]]


class BrokerHandshake:
    """The broker's side of a handshake (section 3 of the page), with a batch of one."""

    def __init__(self, broker: Identity, read: Callable[[int], bytes], write: Callable[[bytes], None]):
        def receive(kind: int) -> mq.Reader:
            found, payload = mq.read_handshake_message(read)
            if found != kind:
                raise mq.ProtocolError(f"handshake message {found} instead of {kind}")
            return mq.Reader(payload)

        hello = receive(mq.CLIENT_HELLO)
        hello_payload = hello.take(hello.left)
        private, nonce = X25519PrivateKey.generate(), os.urandom(32)
        x_b = private.public_key().public_bytes_raw()
        th1 = mq.H(hello_payload, mq.u16(mq.VERSION), nonce, x_b, broker.der)
        path = mq.u16(0) + mq.u16(1) + mq.u8(0)
        signature = mq.pss_sign(broker.key, "sealmq/1 broker hello", mq.merkle_leaf(th1))
        answer = mq.u16(mq.VERSION) + nonce + x_b + mq.bytes16(broker.der) + path + mq.bytes16(signature)
        write(mq.handshake_message(mq.BROKER_HELLO, answer))

        dh = mq.x25519(private, hello_payload[-32:])
        token = receive(mq.CLIENT_AUTH)
        auth = mq.Reader(mq.fernet_open(mq.kdf(dh, th1, "hs"), token.take(token.left)))
        certificate, client_signature = auth.bytes16(), auth.bytes16()
        th2, secret = mq.H(th1, path, signature, certificate), os.urandom(32)
        key = x509.load_der_x509_certificate(certificate).public_key()
        envelope = mq.oaep_seal(key, secret, b"sealmq/1 session")
        th3 = mq.H(th2, client_signature, envelope)
        write(mq.handshake_message(mq.SESSION_KEY, mq.bytes16(envelope) + mq.mac(mq.kdf(dh, th2, "env"), th3)))
        receive(mq.CLIENT_READY)
        self.client = mq.common_name(x509.load_der_x509_certificate(certificate))
        self.receive_key = mq.kdf(dh + secret, th3, "client to broker")
        self.send_key = mq.kdf(dh + secret, th3, "broker to client")


class Relay:
    """Serves one connection after the other until it is closed."""

    def __init__(self, world: World, lie: Lie):
        self.world, self.lie = world, lie
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        def read(count: int) -> bytes:
            data = bytearray()
            while len(data) < count:
                part = sock.recv(count - len(data))
                if not part:
                    raise ConnectionResetError("closed")
                data += part
            return bytes(data)

        with sock, contextlib.suppress(OSError, mq.ProtocolError):
            sock.settimeout(10)
            keys = BrokerHandshake(self.world.identities["broker"], read, sock.sendall)
            with RawSession(self.world, self.world.identities[keys.client]) as above:
                down, up = mq.Direction(keys.send_key), mq.Direction(keys.receive_key)
                sock.sendall(down.seal([above.welcome]))
                threading.Thread(target=self._down, args=(sock, above, down), daemon=True).start()
                while True:
                    above.frames(*up.read(read))

    def _down(self, sock: socket.socket, above: RawSession, down: mq.Direction) -> None:
        with contextlib.suppress(OSError, mq.ProtocolError):
            frames = above.pending
            while True:
                for frame in frames:
                    for told in self.lie(frame):
                        sock.sendall(down.seal([told]))
                frames = above.incoming.read(above.read)
