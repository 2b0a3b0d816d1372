"""Membership records and topic keys: reading and checking them (sections 7.1 and 7.2 of the page)."""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field
from typing import Iterable

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from .certificates import common_name, fingerprint
from .primitives import H, fernet_open, fernet_seal, kdf, oaep_open, pss_sign, pss_verify, sha256
from .wire import (
    MAX_ADDED, MAX_MEMBERS, MAX_RECORD, AuthenticationError, ProtocolError, Reader, bytes16, check_because, check_name,
    check_topic_name, str8, str16, u8, u16, u32, u64,
)

ROLE_MEMBER, ROLE_ADMIN, ROLE_RECOVERY, ROLE_OWNER = 0, 1, 2, 3
JOIN_ASK, JOIN_OPEN, JOIN_CLOSED, JOIN_UNCHANGED = 0, 1, 2, 255
HISTORY_ALL, HISTORY_SINCE_JOIN = 0, 1
PREVIOUS_KEY_LENGTH = 105


@dataclass(frozen=True)
class Member:
    fingerprint: bytes
    name: str
    role: int


@dataclass(frozen=True)
class Signer:
    """Whose signature a record bears."""

    fingerprint: bytes
    name: str
    key: rsa.RSAPublicKey

    @staticmethod
    def of(certificate: x509.Certificate) -> Signer:
        return Signer(fingerprint(certificate), common_name(certificate), certificate.public_key())


@dataclass
class Epoch:
    """What a record says about the epoch that it starts, and the key as soon as it is known."""

    number: int
    started_by: bytes
    commitment: bytes
    previous: bytes
    key: bytes | None = None


@dataclass(frozen=True)
class State:
    """What a record at this offset leaves in force."""

    offset: int
    epoch: int
    members: dict[bytes, Member]


@dataclass
class Genesis:
    name: str
    nonce: bytes
    owner: bytes
    owner_name: str
    join_policy: int
    history: int


@dataclass
class Delta:
    topic_id: bytes
    number: int
    previous: bytes
    signer: bytes
    time: int
    added: list[tuple[bytes, str, int]] = field(default_factory=list)
    removed: list[bytes] = field(default_factory=list)
    denied: list[tuple[bytes, str]] = field(default_factory=list)
    changed: list[tuple[bytes, int]] = field(default_factory=list)
    join_policy: int = JOIN_UNCHANGED
    epoch: tuple[int, bytes, bytes] | None = None  # number, commitment, previous key
    members_hash: bytes = b""
    wrap_hashes: list[bytes] = field(default_factory=list)


def sign_record(key: rsa.RSAPrivateKey, unsigned: bytes) -> bytes:
    record = unsigned + bytes16(pss_sign(key, "sealmq/1 topic record", sha256(unsigned)))
    if len(record) > MAX_RECORD:
        raise ValueError("the record is too large")
    return record


def encode_genesis(genesis: Genesis, key: rsa.RSAPrivateKey) -> bytes:
    return sign_record(
        key,
        u8(1) + u8(0) + str16(genesis.name) + genesis.nonce + genesis.owner + str8(genesis.owner_name)
        + u8(genesis.join_policy) + u8(genesis.history),
    )


def encode_delta(delta: Delta, key: rsa.RSAPrivateKey) -> bytes:
    parts = [
        u8(1), u8(1), delta.topic_id, u32(delta.number), delta.previous, delta.signer, u64(delta.time),
        u16(len(delta.added)), *(who + str8(name) + u8(role) for who, name, role in delta.added),
        u16(len(delta.removed)), *delta.removed,
        u16(len(delta.denied)), *(who + str16(because) for who, because in delta.denied),
        u16(len(delta.changed)), *(who + u8(role) for who, role in delta.changed),
        u8(delta.join_policy),
    ]
    if delta.epoch is None:
        parts.append(u8(0))
    else:
        number, commitment, previous = delta.epoch
        parts += [u8(1), u32(number), commitment, bytes16(previous)]
    parts += [delta.members_hash, u16(len(delta.wrap_hashes)), *delta.wrap_hashes]
    return sign_record(key, b"".join(parts))


def parse_record(record: bytes) -> tuple[Genesis | Delta, bytes, bytes]:
    """A membership record, the hash that its signature is for, and the signature."""
    if len(record) > MAX_RECORD:
        raise ProtocolError("a membership record is too large")
    reader = Reader(record)
    version, kind = reader.u8(), reader.u8()
    if version != 1 or kind > 1:
        raise ProtocolError("a membership record of an unknown version or kind")
    parsed: Genesis | Delta
    if kind == 0:
        parsed = Genesis(reader.str16(), reader.take(32), reader.take(32), reader.str8(), reader.u8(), reader.u8())
        check_topic_name(parsed.name)
        check_name(parsed.owner_name)
        if parsed.join_policy > 2 or parsed.history > 1:
            raise ProtocolError("a genesis with an unknown policy")
    else:
        parsed = Delta(reader.take(32), reader.u32(), reader.take(32), reader.take(32), reader.u64())
        parsed.added = reader.list(lambda: (reader.take(32), check_name(reader.str8()), reader.u8()))
        parsed.removed = reader.list(lambda: reader.take(32))
        parsed.denied = reader.list(lambda: (reader.take(32), check_because(reader.str16())))
        parsed.changed = reader.list(lambda: (reader.take(32), reader.u8()))
        parsed.join_policy = reader.u8()
        if reader.flag():
            parsed.epoch = (reader.u32(), reader.take(32), reader.bytes16())
        parsed.members_hash = reader.take(32)
        parsed.wrap_hashes = reader.list(lambda: reader.take(32))
        if parsed.join_policy not in (0, 1, 2, JOIN_UNCHANGED):
            raise ProtocolError("a delta with an unknown join policy")
        if any(role > 3 for *_, role in parsed.added + parsed.changed):
            raise ProtocolError("a delta with an unknown role")
    signed = sha256(record[: reader.at])
    signature = reader.bytes16()
    reader.end()
    return parsed, signed, signature


def members_hash(members: Iterable[Member]) -> bytes:
    ordered = sorted(members, key=lambda member: member.fingerprint)
    return H(*(member.fingerprint + u8(member.role) + str8(member.name) for member in ordered))


def wrap_label(topic_id: bytes, epoch: int, member: bytes) -> bytes:
    return b"sealmq/1 wrap" + topic_id + u32(epoch) + member


def commitment(key: bytes, topic_id: bytes, epoch: int) -> bytes:
    return kdf(key, topic_id + u32(epoch), "commitment")


def seal_previous(key: bytes, topic_id: bytes, epoch: int, previous: bytes) -> bytes:
    """The key of the epoch before, for those who have this epoch's key."""
    return fernet_seal(kdf(key, topic_id + u32(epoch), "previous epoch"), previous)


class Chain:
    """A topic's membership records so far: who is a member, and which epoch keys are known."""

    def __init__(self, name: str, reader: bytes, key: rsa.RSAPrivateKey):
        """`reader` is the fingerprint of the one who reads, `key` that one's key."""
        self.name, self.reader, self.key = name, reader, key
        self.topic_id = self.head = b""
        self.number = -1
        self.members: dict[bytes, Member] = {}
        self.join_policy = self.history = 0
        self.epochs: dict[int, Epoch] = {}
        self.barred: dict[bytes, str] = {}  # who was removed or denied, ever, and why
        self.names: dict[str, bytes] = {}  # of all who ever were members, the latest of each name
        self.signer: Signer | None = None  # of the newest record
        self._states: list[State] = []

    @property
    def newest(self) -> Epoch:
        return self.epochs[max(self.epochs)]

    def apply(self, offset: int, record: bytes, wrap: bytes, signer: Signer) -> None:
        """Checks the next record and takes it over; the signer's certificate has been checked."""
        if self._states and offset <= self._states[-1].offset:
            raise ProtocolError("a record at an offset that was passed")
        parsed, signed, signature = parse_record(record)
        pss_verify(signer.key, "sealmq/1 topic record", signed, signature)
        if isinstance(parsed, Genesis):
            self._apply_genesis(parsed, record, signer)
        else:
            self._apply_delta(parsed, record, wrap, signer)
        self.head = sha256(record)
        self.number += 1
        self.signer = signer
        self.names.update({member.name: who for who, member in self.members.items()})
        self._states.append(State(offset, max(self.epochs, default=-1), self.members))

    def _apply_genesis(self, genesis: Genesis, record: bytes, signer: Signer) -> None:
        if self.number != -1:
            raise ProtocolError("a second genesis")
        if genesis.name != self.name:
            raise ProtocolError("the genesis is of another topic name")
        if (genesis.owner, genesis.owner_name) != (signer.fingerprint, signer.name):
            raise AuthenticationError("the genesis is not signed by its owner")
        self.topic_id = sha256(record)
        self.join_policy, self.history = genesis.join_policy, genesis.history
        self.members = {genesis.owner: Member(genesis.owner, genesis.owner_name, ROLE_OWNER)}

    def _apply_delta(self, delta: Delta, record: bytes, wrap: bytes, signer: Signer) -> None:
        if delta.topic_id != self.topic_id or delta.number != self.number + 1 or delta.previous != self.head:
            raise ProtocolError("a delta does not continue the chain")
        by = self.members.get(delta.signer)
        if delta.signer != signer.fingerprint or by is None or by.role not in (ROLE_OWNER, ROLE_ADMIN):
            raise AuthenticationError("a delta is signed by one who may not")
        self._check_lists(delta)
        if by.role == ROLE_ADMIN:
            self._check_admin(delta)
        self._check_epoch(delta)

        members = dict(self.members)
        for who in delta.removed:
            del members[who]
        for who, role in delta.changed:
            members[who] = Member(who, members[who].name, role)
        for who, name, role in delta.added:
            members[who] = Member(who, name, role)
        if len(members) > MAX_MEMBERS:
            raise ProtocolError("a topic with too many members")
        if members_hash(members.values()) != delta.members_hash:
            raise ProtocolError("a delta's member list has another hash")
        wrapped_for = sorted(members) if delta.epoch else [who for who, _, _ in delta.added]
        if len(delta.wrap_hashes) != len(wrapped_for):
            raise ProtocolError("a delta has not one wrap for each member")

        if delta.epoch:
            number, committed, previous = delta.epoch
            self.epochs[number] = Epoch(number, sha256(record), committed, previous)
        self.members = members
        self.barred.update({who: "removed" for who in delta.removed} | dict(delta.denied))
        if delta.join_policy != JOIN_UNCHANGED:
            self.join_policy = delta.join_policy
        if wrap:
            self._unwrap(wrap, dict(zip(wrapped_for, delta.wrap_hashes)))

    def _check_lists(self, delta: Delta) -> None:
        added, changed = [who for who, _, _ in delta.added], [who for who, _ in delta.changed]
        denied = [who for who, _ in delta.denied]
        everyone = added + delta.removed + denied + changed
        if not everyone and delta.join_policy == JOIN_UNCHANGED and delta.epoch is None:
            raise ProtocolError("a delta changes nothing")
        if len(everyone) != len(set(everyone)):
            raise ProtocolError("a delta names somebody twice")
        if len(delta.added) > MAX_ADDED or len(delta.denied) > MAX_ADDED:
            raise ProtocolError("a delta adds or denies too many")
        if any(who in self.members for who in added + denied):
            raise ProtocolError("a delta adds or denies a member")
        for who in delta.removed + changed:
            if who not in self.members:
                raise ProtocolError("a delta removes or changes one who is not a member")
            if self.members[who].role == ROLE_OWNER:
                raise ProtocolError("a delta removes or changes the owner")
        if any(role == ROLE_OWNER for *_, role in delta.added + delta.changed):
            raise ProtocolError("a delta makes another owner")

    def _check_admin(self, delta: Delta) -> None:
        """What an admin may not do."""
        added = [role for _, _, role in delta.added]
        removed = [self.members[who].role for who in delta.removed]
        if any(role != ROLE_MEMBER for role in added + removed):
            raise AuthenticationError("an admin adds or removes one who is no plain member")
        if delta.changed or delta.join_policy != JOIN_UNCHANGED:
            raise AuthenticationError("an admin changes a role or the join policy")

    def _check_epoch(self, delta: Delta) -> None:
        since_join = self.history == HISTORY_SINCE_JOIN
        if delta.epoch is None:
            if not self.epochs or delta.removed or (delta.added and since_join):
                raise ProtocolError("a delta that has to start an epoch does not")
            return
        number, _, previous = delta.epoch
        if number != len(self.epochs):
            raise ProtocolError("a delta starts the wrong epoch")
        if len(previous) != (0 if since_join or number == 0 else PREVIOUS_KEY_LENGTH):
            raise ProtocolError("a delta has, or lacks, the previous epoch's key")

    def _unwrap(self, wrap: bytes, hashes_by_member: dict[bytes, bytes]) -> None:
        epoch = self.newest
        if not 256 <= len(wrap) <= 512:
            raise ProtocolError("a wrap is not as long as a modulus")
        if hashes_by_member.get(self.reader) != sha256(wrap):
            raise AuthenticationError("a wrap is not the one that the record names")
        key = oaep_open(self.key, wrap, wrap_label(self.topic_id, epoch.number, self.reader))
        self._learn(epoch, key)

    def _learn(self, epoch: Epoch, key: bytes) -> None:
        """Takes over an epoch's key, and those of earlier epochs that it opens."""
        if len(key) != 32 or commitment(key, self.topic_id, epoch.number) != epoch.commitment:
            raise AuthenticationError("a topic key does not fit its commitment")
        epoch.key = key
        before = self.epochs.get(epoch.number - 1)
        if epoch.previous and before is not None and before.key is None:
            sealing = kdf(key, self.topic_id + u32(epoch.number), "previous epoch")
            self._learn(before, fernet_open(sealing, epoch.previous))

    def state_below(self, offset: int) -> State | None:
        """What the newest record below `offset` of the log leaves in force; None if there is none."""
        place = bisect.bisect_left(self._states, offset, key=lambda state: state.offset)
        return self._states[place - 1] if place else None

    def is_record(self, offset: int) -> bool:
        """Whether the entry at this offset is a membership record that has come."""
        state = self.state_below(offset + 1)
        return state is not None and state.offset == offset
