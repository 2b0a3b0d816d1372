"""The client's side of the handshake, without input or output (section 3 of the page)."""

from __future__ import annotations

import hmac
import os
from typing import Callable, Sequence

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID

from .certificates import Identity, check_certificate
from .primitives import H, fernet_open, fernet_seal, kdf, mac, oaep_open, pss_sign, pss_verify, sha256, x25519
from .wire import (
    MAGIC, MAX_BATCH, MAX_HANDSHAKE, MAX_REFUSAL_TEXT, VERSION, AuthenticationError, HandshakeRefused, ProtocolError,
    Reader, bytes16, clock, u8, u16, u32,
)

CLIENT_HELLO, BROKER_HELLO, CLIENT_AUTH, SESSION_KEY, CLIENT_READY, REFUSAL, SEALED_REFUSAL = range(1, 8)


def merkle_leaf(th1: bytes) -> bytes:
    return sha256(b"\0" + th1)


def merkle_node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\1" + left + right)


def merkle_depth(index: int, size: int) -> int:
    """How many hashes lie beside the way from leaf `index` of `size` up to the root."""
    if size == 1:
        return 0
    split = 1 << ((size - 1).bit_length() - 1)  # the largest power of two below size
    if index < split:
        return 1 + merkle_depth(index, split)
    return 1 + merkle_depth(index - split, size - split)


def merkle_root(leaf: bytes, index: int, size: int, beside: Sequence[bytes]) -> bytes:
    """The root that the leaf and the hashes beside its way give (RFC 9162, 2.1.3.2)."""
    here, last, node = index, size - 1, leaf
    for other in beside:
        if last == 0:
            raise AuthenticationError("the batch's path is too long")
        if here & 1 or here == last:
            node = merkle_node(other, node)
            while here and not here & 1:
                here, last = here >> 1, last >> 1
        else:
            node = merkle_node(node, other)
        here, last = here >> 1, last >> 1
    if last:
        raise AuthenticationError("the batch's path is too short")
    return node


def handshake_message(kind: int, payload: bytes) -> bytes:
    return u32(1 + len(payload)) + u8(kind) + payload


def read_handshake_message(read: Callable[[int], bytes]) -> tuple[int, bytes]:
    """Reads one handshake message with `read(count)`, which gives exactly that many bytes."""
    length = int.from_bytes(read(4), "big")
    if not 1 <= length <= MAX_HANDSHAKE:
        raise ProtocolError(f"a handshake message of {length} bytes")
    message = read(length)
    return message[0], message[1:]


def parse_refusal(payload: bytes, authenticated: bool) -> HandshakeRefused:
    reader = Reader(payload)
    code, retry_after, text = reader.u16(), reader.u32(), reader.str16()
    reader.end()
    if len(text.encode()) > MAX_REFUSAL_TEXT:
        raise ProtocolError("the refusal's text is too long")
    return HandshakeRefused(code, retry_after, text, authenticated)


class ClientHandshake:
    """The client's side of one handshake, one method for each step.

    Call `hello`, `on_broker_hello` and `on_session_key` in turn; each gives the payload to send.
    Afterwards `send_key` and `receive_key` are the keys of the two directions.
    """

    def __init__(self, identity: Identity, ca: x509.Certificate, host: str):
        self.identity, self.ca, self.host = identity, ca, host
        self.nonce = os.urandom(32)
        self.private = X25519PrivateKey.generate()
        self.dh = self.th1 = self.th2 = self.th3 = b""
        self.broker: x509.Certificate | None = None
        self.signature = b""
        self.send_key = self.receive_key = b""

    def hello(self) -> bytes:
        self.hello_payload = MAGIC + u16(VERSION) + self.nonce + self.private.public_key().public_bytes_raw()
        return self.hello_payload

    def on_broker_hello(self, payload: bytes) -> bytes:
        """Checks BrokerHello, gives ClientAuth."""
        reader = Reader(payload)
        version, nonce_b, x_b = reader.u16(), reader.take(32), reader.take(32)
        certificate = reader.bytes16()
        path_start = reader.at
        index, size = reader.u16(), reader.u16()
        beside = [reader.take(32) for _ in range(reader.u8())]
        path = payload[path_start : reader.at]
        signature = reader.bytes16()
        reader.end()
        if version != VERSION:
            raise ProtocolError(f"the broker speaks version {version}")
        if not 1 <= size <= MAX_BATCH or index >= size or len(beside) != merkle_depth(index, size):
            raise ProtocolError("the batch's path has the wrong shape")

        self.broker = check_certificate(certificate, self.ca, ExtendedKeyUsageOID.SERVER_AUTH, self.host, clock())
        self.th1 = H(self.hello_payload, u16(version), nonce_b, x_b, certificate)
        root = merkle_root(merkle_leaf(self.th1), index, size, beside)
        pss_verify(self.broker.public_key(), "sealmq/1 broker hello", root, signature)

        self.dh = x25519(self.private, x_b)
        self.th2 = H(self.th1, path, signature, self.identity.der)
        self.signature = pss_sign(self.identity.key, "sealmq/1 client auth", self.th2)
        return self.seal_auth(self.identity.der, self.signature)

    def seal_auth(self, certificate: bytes, signature: bytes) -> bytes:
        return fernet_seal(kdf(self.dh, self.th1, "hs"), bytes16(certificate) + bytes16(signature))

    def on_session_key(self, payload: bytes) -> bytes:
        """Checks SessionKey, gives ClientReady."""
        reader = Reader(payload)
        envelope, tag = reader.bytes16(), reader.take(32)
        reader.end()
        self.th3 = H(self.th2, self.signature, envelope)
        if not hmac.compare_digest(mac(kdf(self.dh, self.th2, "env"), self.th3), tag):
            raise AuthenticationError("the session key's MAC is wrong")
        secret = oaep_open(self.identity.key, envelope, b"sealmq/1 session")
        if len(secret) != 32:
            raise ProtocolError("the session's secret is not 32 bytes long")
        master = self.dh + secret
        self.send_key = kdf(master, self.th3, "client to broker")
        self.receive_key = kdf(master, self.th3, "broker to client")
        return mac(kdf(master, self.th3, "ready"), self.th3)

    def refusal(self, kind: int, payload: bytes) -> HandshakeRefused:
        """The refusal in a message of type 6, which anybody can have sent, or 7."""
        if kind == REFUSAL:
            return parse_refusal(payload, authenticated=False)
        return parse_refusal(fernet_open(kdf(self.dh, self.th1, "refuse"), payload), authenticated=True)

    def run(self, read: Callable[[int], bytes], write: Callable[[bytes], None]) -> None:
        """Runs the whole handshake."""
        write(handshake_message(CLIENT_HELLO, self.hello()))
        payload = self._expect(BROKER_HELLO, (REFUSAL,), read)
        write(handshake_message(CLIENT_AUTH, self.on_broker_hello(payload)))
        payload = self._expect(SESSION_KEY, (REFUSAL, SEALED_REFUSAL), read)
        write(handshake_message(CLIENT_READY, self.on_session_key(payload)))

    def _expect(self, wanted: int, refusals: tuple[int, ...], read: Callable[[int], bytes]) -> bytes:
        kind, payload = read_handshake_message(read)
        if kind in refusals:
            raise self.refusal(kind, payload)
        if kind != wanted:
            raise ProtocolError(f"handshake message {kind} instead of {wanted}")
        return payload
