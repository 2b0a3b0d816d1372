"""Asking to join a topic, and whether to believe who asks (section 7.4 of the page)."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from .certificates import Identity, check_certificate, common_name, fingerprint
from .chain import JOIN_OPEN, Chain
from .primitives import pss_sign, pss_verify, sha256
from .wire import (
    AuthenticationError, ProtocolError, Reader, bytes16, check_name, check_topic_name, clock, now_ms, str8, str16, u8,
    u64,
)


@dataclass(frozen=True)
class JoinRequest:
    topic: str
    topic_id: bytes
    who: bytes
    name: str
    time: int
    certificate: x509.Certificate


def make_join_request(identity: Identity, topic: str, topic_id: bytes) -> bytes:
    unsigned = (
        u8(1) + str16(topic) + topic_id + identity.fingerprint + str8(identity.name) + u64(now_ms())
    )
    return unsigned + bytes16(pss_sign(identity.key, "sealmq/1 join request", sha256(unsigned)))


def believe(request: bytes, certificate: bytes, ca: x509.Certificate, topic: str, topic_id: bytes) -> JoinRequest:
    """Reads a request to join this topic and checks who asks; revocation is for the caller to look at."""
    reader = Reader(request)
    if reader.u8() != 1:
        raise ProtocolError("a join request of an unknown version")
    name, found_id = check_topic_name(reader.str16()), reader.take(32)
    who, who_name, time = reader.take(32), check_name(reader.str8()), reader.u64()
    signed = sha256(request[: reader.at])
    signature = reader.bytes16()
    reader.end()
    checked = check_certificate(certificate, ca, ExtendedKeyUsageOID.CLIENT_AUTH, at=clock())
    if (fingerprint(checked), common_name(checked)) != (who, who_name):
        raise AuthenticationError("a join request's certificate is another's")
    pss_verify(checked.public_key(), "sealmq/1 join request", signed, signature)
    if (name, found_id) != (topic, topic_id):
        raise AuthenticationError("a join request is for another topic")
    return JoinRequest(name, found_id, who, who_name, time, checked)


def check_admission(chain: Chain, request: JoinRequest) -> None:
    """Whether a client of owner or admin adds by itself who asks; a CRL in force is for the caller to have.

    Who was removed asks in vain, even if a broker shows a request again that was made before.
    """
    if chain.join_policy != JOIN_OPEN:
        raise AuthenticationError("the topic's policy is not to let in whoever asks")
    if request.who in chain.barred:
        raise AuthenticationError(f"who asks was removed or denied: {chain.barred[request.who]}")
    if chain.names.get(request.name, request.who) != request.who:
        raise AuthenticationError("who asks has a name that another bears or has borne")
