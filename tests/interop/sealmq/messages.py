"""Who publishes, and what a message's body is (section 7.3 of the page)."""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from .certificates import Identity
from .chain import Epoch
from .ed25519 import check_ed25519_key, ed25519_sign, ed25519_verify
from .primitives import fernet_open, fernet_seal, kdf, pss_sign, pss_verify, sha256
from .wire import (
    MAX_BODY, MAX_CONTENT, AuthenticationError, ProtocolError, Reader, bytes16, now_ms, u8, u32, u64,
)

DAY_MS = 86_400_000
DELEGATION_MS = 7 * DAY_MS
SIGNATURE_LENGTH = 64
KIND_UNSIGNED, KIND_SIGNED = 0, 1


@dataclass(frozen=True)
class Delegation:
    """A sender's word for the key that signs its messages."""

    sender: bytes
    publisher: bytes
    key: bytes
    not_before: int
    not_after: int

    def encode(self, signer: rsa.RSAPrivateKey) -> bytes:
        unsigned = (
            u8(1) + self.sender + self.publisher + self.key + u64(self.not_before) + u64(self.not_after)
        )
        return unsigned + bytes16(pss_sign(signer, "sealmq/1 delegation", sha256(unsigned)))

    @staticmethod
    def verified(encoded: bytes, sender: bytes, publisher: bytes, key: rsa.RSAPublicKey) -> Delegation:
        """Reads a delegation and checks that it is this sender's, for this publisher id."""
        reader = Reader(encoded)
        if reader.u8() != 1:
            raise ProtocolError("a delegation of an unknown version")
        found = Delegation(reader.take(32), reader.take(16), reader.take(32), reader.u64(), reader.u64())
        signed = sha256(encoded[: reader.at])
        signature = reader.bytes16()
        reader.end()
        if (found.sender, found.publisher) != (sender, publisher):
            raise AuthenticationError("a delegation is of another sender or publisher id")
        check_ed25519_key(found.key)
        pss_verify(key, "sealmq/1 delegation", signed, signature)
        return found

    def check_time(self, time: int) -> None:
        if not self.not_before - DAY_MS <= time <= self.not_after + DAY_MS:
            raise AuthenticationError("a message of a time that its delegation is not for")


@dataclass(frozen=True)
class Publisher:
    """A publisher id with the key that signs under it, and the delegation for both."""

    id: bytes
    key: Ed25519PrivateKey
    delegation: bytes

    @staticmethod
    def new(identity: Identity, publisher: bytes | None = None, **times: int) -> Publisher:
        publisher, key, now = publisher or os.urandom(16), Ed25519PrivateKey.generate(), now_ms()
        delegation = Delegation(
            identity.fingerprint, publisher, key.public_key().public_bytes_raw(), now, now + DELEGATION_MS
        )
        return Publisher(publisher, key, replace(delegation, **times).encode(identity.key))


def body_key(topic_id: bytes, epoch: Epoch) -> bytes:
    if epoch.key is None:
        raise AuthenticationError(f"the key of epoch {epoch.number} is not known")
    return kdf(epoch.key, topic_id + u32(epoch.number), "body")


def signed_fields(topic_id: bytes, epoch: Epoch, publisher: bytes, counter: int, kind: int = KIND_SIGNED) -> bytes:
    """All of `signed` but the content."""
    return u8(1) + u8(kind) + topic_id + epoch.started_by + publisher + u64(counter)


def seal_body(topic_id: bytes, epoch: Epoch, publisher: Publisher, counter: int, content: bytes) -> bytes:
    if len(content) > MAX_CONTENT:
        raise ValueError("the message is too large")
    signed = signed_fields(topic_id, epoch, publisher.id, counter) + content
    return seal_signed(topic_id, epoch, signed, sign_message(publisher, signed))


def sign_message(publisher: Publisher, signed: bytes) -> bytes:
    return ed25519_sign(publisher.key, "sealmq/1 message", sha256(signed))


def seal_signed(topic_id: bytes, epoch: Epoch, signed: bytes, signature: bytes) -> bytes:
    """The last step alone; whoever has the epoch's key can do it with whatever is signed, or is not."""
    return fernet_seal(body_key(topic_id, epoch), signed + signature)


def open_body(topic_id: bytes, epoch: Epoch, delegation: Delegation, counter: int, body: bytes) -> bytes:
    """Opens a body that came as this publisher's message under this counter; gives the content."""
    if len(body) > MAX_BODY:
        raise ProtocolError("a body is too large")
    plain = fernet_open(body_key(topic_id, epoch), body)
    expected = signed_fields(topic_id, epoch, delegation.publisher, counter)
    if len(plain) < len(expected) + SIGNATURE_LENGTH:
        raise ProtocolError("a body is too short")
    signed, signature = plain[:-SIGNATURE_LENGTH], plain[-SIGNATURE_LENGTH:]
    if signed[1] != KIND_SIGNED:
        raise AuthenticationError("a body of an unknown kind, or unsigned")
    if not hmac.compare_digest(signed[: len(expected)], expected):
        raise AuthenticationError("a body is of another topic, epoch, sender or message")
    ed25519_verify(delegation.key, "sealmq/1 message", sha256(signed), signature)
    content = signed[len(expected) :]
    if len(content) > MAX_CONTENT:
        raise ProtocolError("a message is too large")
    return content
