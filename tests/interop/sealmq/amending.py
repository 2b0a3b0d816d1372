"""Making membership records: a new topic's, and those that change one (sections 7.1 and 7.2 of the page)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Callable, Mapping, Sequence

from cryptography import x509

from .certificates import Identity, common_name, fingerprint
from .chain import (
    HISTORY_ALL, HISTORY_SINCE_JOIN, JOIN_CLOSED, JOIN_UNCHANGED, ROLE_OWNER, Chain, Delta, Genesis, Member,
    commitment, encode_delta, encode_genesis, members_hash, seal_previous, wrap_label,
)
from .primitives import oaep_seal, sha256
from .wire import check_topic_name, now_ms

Certificates = Mapping[bytes, x509.Certificate]
Twist = Callable[[Delta], None]


@dataclass
class NewRecord:
    """A delta and the wraps that it names."""

    record: bytes
    wraps: list[bytes]
    key: bytes


@dataclass
class NewTopic:
    """All that Create needs, and the topic's first key."""

    genesis: bytes
    delta: bytes
    wraps: list[bytes]
    topic_id: bytes
    key: bytes


def wrap_key(certificate: x509.Certificate, key: bytes, topic_id: bytes, epoch: int) -> bytes:
    return oaep_seal(certificate.public_key(), key, wrap_label(topic_id, epoch, fingerprint(certificate)))


def make_topic(
    owner: Identity,
    name: str,
    members: Sequence[tuple[x509.Certificate, int]] = (),
    join_policy: int = JOIN_CLOSED,
    history: int = HISTORY_ALL,
) -> NewTopic:
    """Makes genesis, first delta and wraps for a topic of the owner and these members."""
    genesis = encode_genesis(
        Genesis(check_topic_name(name), os.urandom(32), owner.fingerprint, owner.name, join_policy, history), owner.key
    )
    topic_id, key = sha256(genesis), os.urandom(32)
    certificates = {owner.fingerprint: owner.certificate}
    everyone = [Member(owner.fingerprint, owner.name, ROLE_OWNER)]
    added = []
    for certificate, role in members:
        who = fingerprint(certificate)
        certificates[who] = certificate
        everyone.append(Member(who, common_name(certificate), role))
        added.append((who, common_name(certificate), role))
    wraps = [wrap_key(certificates[who], key, topic_id, 0) for who in sorted(certificates)]
    delta = Delta(topic_id, 1, topic_id, owner.fingerprint, now_ms(), added)
    delta.epoch = (0, commitment(key, topic_id, 0), b"")
    delta.members_hash = members_hash(everyone)
    delta.wrap_hashes = [sha256(wrap) for wrap in wraps]
    return NewTopic(genesis, encode_delta(delta, owner.key), wraps, topic_id, key)


def make_delta(
    chain: Chain,
    signer: Identity,
    certificates: Certificates,
    *,
    add: Sequence[tuple[x509.Certificate, int]] = (),
    remove: Sequence[bytes] = (),
    deny: Sequence[tuple[bytes, str]] = (),
    change: Sequence[tuple[bytes, int]] = (),
    join_policy: int = JOIN_UNCHANGED,
    new_epoch: bool | None = None,
    twist: Twist | None = None,
) -> NewRecord:
    """Makes the record that comes next in a chain; `certificates` has those of its members.

    A new epoch is started if there has to be one, or if `new_epoch` says so. `twist` may spoil the record before it
    is signed, to see what a broker says.
    """
    added = [(fingerprint(certificate), common_name(certificate), role) for certificate, role in add]
    members = {who: member for who, member in chain.members.items() if who not in remove}
    members |= {who: Member(who, members[who].name, role) for who, role in change if who in members}
    members |= {who: Member(who, name, role) for who, name, role in added}
    if new_epoch is None:
        new_epoch = bool(remove) or (bool(add) and chain.history == HISTORY_SINCE_JOIN)

    known = dict(certificates) | {fingerprint(certificate): certificate for certificate, _ in add}
    delta = Delta(chain.topic_id, chain.number + 1, chain.head, signer.fingerprint, now_ms(), added)
    delta.removed, delta.denied, delta.changed = list(remove), list(deny), list(change)
    delta.join_policy = join_policy
    number, key = chain.newest.number, chain.newest.key
    if key is None:
        raise ValueError("who has not the topic's key cannot change its members")
    if new_epoch:
        number, before, key = number + 1, key, os.urandom(32)
        handed_on = seal_previous(key, chain.topic_id, number, before) if chain.history == HISTORY_ALL else b""
        delta.epoch = (number, commitment(key, chain.topic_id, number), handed_on)
    wrapped_for = sorted(members) if new_epoch else [who for who, _, _ in added]
    wraps = [wrap_key(known[who], key, chain.topic_id, number) for who in wrapped_for]
    delta.members_hash = members_hash(members.values())
    delta.wrap_hashes = [sha256(wrap) for wrap in wraps]
    if twist:
        twist(delta)
    return NewRecord(encode_delta(delta, signer.key), wraps, key)
