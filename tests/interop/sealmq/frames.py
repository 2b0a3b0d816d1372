"""Frames and the records that carry them (sections 4 to 6 of the page)."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass, field
from typing import Any, Callable, Iterable

from .primitives import fernet_open, fernet_seal, kdf, sha256
from .wire import MAX_BODIES, MAX_TOKEN, ProtocolError, Reader, bytes16, str8, str16, u8, u16, u32, u64

REKEY_INTERVAL = 2**20
INLINE_LIMIT = 512

DURABILITY_MEMORY, DURABILITY_DISK = 0, 1


@dataclass
class Frame:
    """A frame: its kind and its fields, as the page calls them."""

    kind: str
    fields: dict[str, Any] = field(default_factory=dict)
    bodies: list[PendingBody] = field(default_factory=list)

    def __getattr__(self, key: str) -> Any:
        try:
            return self.__dict__["fields"][key]
        except KeyError:
            raise AttributeError(key) from None


@dataclass
class PendingBody:
    """A body that follows the token: which field it is for, how long it is, and its hash."""

    key: str
    length: int
    digest: bytes


# kind, a, b
Start = tuple[int, int, int]
RECORDS_ONLY: Start = (0, 0, 0)
EARLIEST: Start = (1, 0, 0)
LATEST: Start = (2, 0, 0)


def last(count: int) -> Start:
    return (3, count, 0)


def since(time_ms: int) -> Start:
    return (4, time_ms, 0)


def from_offset(offset: int) -> Start:
    return (5, offset, 0)


def resume(offset: int, incarnation: int) -> Start:
    return (6, offset, incarnation)


_TABLE = """
01 Ping           u64 number
02 Pong           u64 number
03 Close          u64 sequence, u16 code, str16 text
10 Create         u32 request, str16 name, u8 durability, retention retention, bytes16 genesis, bytes16 delta
11 Open           u32 request, str16 name, start start
12 Subscribe      u32 request, str16 filter, start start
13 Unsubscribe    u32 request, str16 filter
14 Publisher      u16 slot, x16 publisher, bytes16 delegation
15 Publish        u16 slot, u32 topic, u32 epoch, u64 counter, body body
16 Wraps          list_bytes16 wraps
17 Append         u32 request, u32 topic, bytes16 record
18 ListClients    u32 request, x32 after, list_str8 names
19 ListTopics     u32 request, str16 after, str16 filter
1a GetStats       u32 request
1b GetCrl         u32 request, u32 start
1c Exit           flag forget
1d Join           u32 request, str16 name, bytes16 join
1e ListRequests   u32 request, flag follow, str16 filter, str16 after, x32 after_client
1f Delete         u32 request, str16 name
20 SetRetention   u32 request, str16 name, retention retention
21 GetCertificates u32 request, list_x32 fingerprints
22 RecoveryCertificate bytes16 certificate
40 Welcome        u64 time, u16 keepalive, u32 largest, u16 window, u64 crl, str16 version
41 Done           u32 request
42 Refused        u32 request, u16 code, u64 detail, str16 text
43 Topic          u32 request, u32 topic, str16 name, u64 incarnation, u64 start, u64 end, u8 durability, u8 notice
44 Subscribed     u32 request, u32 matched, u32 others
45 Published      u16 slot, u32 topic, u64 counter, u64 offset
46 PublishRefused u16 slot, u32 topic, u64 counter, u16 code, u64 detail
47 Record         u32 topic, u64 offset, u64 time, bytes16 record, bytes16 wrap, bytes16 certificate
48 Sender         u32 topic, u32 sender, x16 publisher, x32 fingerprint, str8 name, bytes16 delegation, bytes16 certificate
49 Message        u32 topic, u64 offset, u64 time, u32 sender, u32 epoch, u64 counter, body body
4a CaughtUp       u32 topic, u64 next
4b Gap            u32 topic, u64 start, u64 to
4c Ended          u32 topic, u16 code
4d Clients        u32 request, flag more, list_client clients
4e Topics         u32 request, flag more, list_topic_entry topics
4f Stats          u32 request, list_stat stats
50 CrlPart        u32 request, u64 number, u32 total, u32 start, bytes16 part
51 CrlChanged     u64 number
52 Requests       u32 request, flag more, list_join_entry requests
53 Requested      join_entry entry
54 RotateDue      str16 name
"""

FRAME_FIELDS: dict[str, list[tuple[str, str]]] = {}
FRAME_CODES: dict[str, int] = {}
FRAME_NAMES: dict[int, str] = {}
for _line in _TABLE.strip().splitlines():
    _code, _name, _fields = _line.split(None, 2)
    FRAME_CODES[_name], FRAME_NAMES[int(_code, 16)] = int(_code, 16), _name
    FRAME_FIELDS[_name] = [(kind, key) for kind, key in (part.split() for part in _fields.split(", "))]

# The values of section 6 that are several fields together.
_GROUP_TABLE = """
retention    u64 messages, u64 bytes, u64 age
start        u8 kind, u64 a, u64 b
client       bytes16 certificate, u64 seen
stat         str16 name, u64 value
join_entry   str16 topic, u64 time, bytes16 request, bytes16 certificate
topic_entry  str16 name, x32 topic_id, u8 role, str8 owner, x32 owner_fingerprint, u64 owner_seen, u16 members, \
u8 join_policy, u8 history, u16 requests, flag rotate_due, u8 durability, retention retention, u64 incarnation, \
u64 first, u64 next, u64 messages, u64 bytes, u64 oldest
"""

_GROUPS: dict[str, list[str]] = {}
_GROUP_TYPES: dict[str, Any] = {}
for _line in _GROUP_TABLE.strip().splitlines():
    _name, _fields = _line.split(None, 1)
    _pairs = [part.split() for part in _fields.split(", ")]
    _GROUPS[_name] = [kind for kind, _ in _pairs]
    _GROUP_TYPES[_name] = namedtuple(_name, [key for _, key in _pairs])


def _encode_value(kind: str, value: Any) -> bytes:
    if kind.startswith("list_"):
        return u16(len(value)) + b"".join(_encode_value(kind[5:], item) for item in value)
    if kind in _GROUPS:
        return b"".join(_encode_value(part, item) for part, item in zip(_GROUPS[kind], value, strict=True))
    if kind.startswith("x"):
        if len(value) != int(kind[1:]):
            raise ValueError(f"{kind[1:]} bytes are needed, not {len(value)}")
        return value
    encoders: dict[str, Callable[[Any], bytes]] = {
        "u8": u8, "u16": u16, "u32": u32, "u64": u64, "flag": u8,
        "bytes16": bytes16, "str8": str8, "str16": str16,
    }
    return encoders[kind](value)


def _decode_value(kind: str, reader: Reader) -> Any:
    if kind.startswith("list_"):
        return reader.list(lambda: _decode_value(kind[5:], reader))
    if kind in _GROUPS:
        return _GROUP_TYPES[kind](*(_decode_value(part, reader) for part in _GROUPS[kind]))
    if kind.startswith("x"):
        return reader.take(int(kind[1:]))
    return getattr(reader, kind)()


def frame_bytes(code: int, payload: bytes) -> bytes:
    return u8(code) + u16(len(payload)) + payload


def encode_frame(frame: Frame) -> tuple[bytes, bytes]:
    """The frame's bytes, and the body that has to follow the token (empty if none)."""
    payload, behind = [], b""
    for kind, key in FRAME_FIELDS[frame.kind]:
        value = frame.fields[key]
        if kind != "body":
            payload.append(_encode_value(kind, value))
        elif len(value) <= INLINE_LIMIT:
            payload.append(u8(1) + bytes16(value))
        else:
            payload.append(u8(0) + u32(len(value)) + sha256(value))
            behind = value
    return frame_bytes(FRAME_CODES[frame.kind], b"".join(payload)), behind


def decode_frames(data: bytes) -> list[Frame]:
    """The frames of a record; bodies that follow the token are listed in `Frame.bodies`."""
    frames, outer = [], Reader(data)
    while outer.left:
        code = outer.u8()
        reader = Reader(outer.bytes16())
        if code not in FRAME_NAMES:
            raise ProtocolError(f"unknown frame type {code:#04x}")
        frame = Frame(FRAME_NAMES[code])
        for kind, key in FRAME_FIELDS[frame.kind]:
            if kind != "body":
                frame.fields[key] = _decode_value(kind, reader)
                continue
            place = reader.u8()
            if place == 1:
                frame.fields[key] = reader.bytes16()
            elif place == 0:
                frame.bodies.append(PendingBody(key, reader.u32(), reader.take(32)))
            else:
                raise ProtocolError("a body is neither inside nor behind the frame")
        reader.end()
        frames.append(frame)
    return frames


class Direction:
    """One direction's key and sequence, with the change of keys every 2^20 records."""

    def __init__(self, key: bytes):
        self.key, self.sequence = key, 0

    def _after_record(self) -> None:
        self.sequence += 1
        if self.sequence % REKEY_INTERVAL == 0:
            self.key = kdf(self.key, u64(self.sequence), "next")

    def seal(self, frames: Iterable[Frame]) -> bytes:
        """The whole record for these frames."""
        encoded, bodies = [], []
        for frame in frames:
            if frame.kind == "Close":
                frame.fields["sequence"] = self.sequence
            inside, behind = encode_frame(frame)
            encoded.append(inside)
            bodies.append(behind)
        return self.seal_raw(b"".join(encoded), b"".join(bodies))

    def seal_raw(self, frames: bytes, bodies: bytes = b"") -> bytes:
        """A record of frames that are encoded already."""
        token = fernet_seal(self.key, u64(self.sequence) + frames)
        if len(token) > MAX_TOKEN or len(bodies) > MAX_BODIES:
            raise ValueError("too much for one record")
        self._after_record()
        return u32(len(token)) + token + bodies

    def open(self, token: bytes) -> list[Frame]:
        """The frames of the next record's token; their bodies are still to be read."""
        reader = Reader(fernet_open(self.key, token))
        if reader.u64() != self.sequence:
            raise ProtocolError("a record out of sequence")
        self._after_record()
        frames = decode_frames(reader.take(reader.left))
        if sum(body.length for frame in frames for body in frame.bodies) > MAX_BODIES:
            raise ProtocolError("too many bodies behind a record")
        return frames

    def read(self, read: Callable[[int], bytes]) -> list[Frame]:
        """Reads one record with `read(count)`; gives its frames with their bodies."""
        length = int.from_bytes(read(4), "big")
        if length > MAX_TOKEN:
            raise ProtocolError(f"a token of {length} bytes")
        frames = self.open(read(length))
        for frame in frames:
            for body in frame.bodies:
                data = read(body.length)
                if sha256(data) != body.digest:
                    raise ProtocolError("a body has not the hash that its frame states")
                frame.fields[body.key] = data
            if frame.kind == "Close" and frame.sequence != self.sequence - 1:
                raise ProtocolError("a Close frame has another record's sequence")
        return frames
