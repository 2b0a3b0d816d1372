"""A client of the sealmq/1 publish/subscribe protocol, written from the protocol page alone.

The file follows the page from bottom to top: encodings, primitives, certificates, the handshake,
records, frames, membership records, message bodies, and at the end `Client`, which ties them
together. Everything above `Client` does no input or output, so a test can drive it step by step.

    ca = load_certificate("ca.pem")
    me = Identity.load("alice.crt", "alice.key")
    with Client.connect("127.0.0.1", 7400, me, ca) as client:
        topic = client.create("plant/line1", [])
        client.publish(topic, b"hello")
        client.exit()

Needs Python 3.11 and the `cryptography` package.
"""

from __future__ import annotations

import base64
import bisect
import hashlib
import hmac
import ipaddress
import os
import queue
import re
import select
import socket
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Iterable, Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, SignatureAlgorithmOID

VERSION = 1
MAGIC = b"SEALMQ"

MAX_HANDSHAKE = 8192
MAX_BATCH = 256
MAX_CERTIFICATE = 4096
MAX_REFUSAL_TEXT = 512
MAX_TOKEN = 65536
MAX_BODIES = 2 * 1024 * 1024
MAX_CONTENT = 1024 * 1024
MAX_BODY = MAX_CONTENT + 512
MAX_RECORD = 40960
MAX_MEMBERS = 1024
MAX_ADDED = 256
PREVIOUS_KEY_LENGTH = 105
REKEY_INTERVAL = 2**20
INLINE_LIMIT = 512

CLIENT_HELLO, BROKER_HELLO, CLIENT_AUTH, SESSION_KEY, CLIENT_READY, REFUSAL, SEALED_REFUSAL = range(1, 8)

REFUSALS = {
    1: "unsupported version", 2: "malformed", 3: "unexpected message", 4: "too large", 5: "busy",
    6: "timeout", 10: "certificate not in the profile", 11: "certificate expired",
    12: "certificate not yet valid", 13: "certificate revoked", 14: "certificate not of this CA",
    15: "wrong name in the certificate", 16: "wrong usage in the certificate",
    17: "authentication failed", 20: "shutting down",
}

DURABILITY_MEMORY, DURABILITY_DISK = 0, 1
ROLE_MEMBER, ROLE_ADMIN, ROLE_RECOVERY, ROLE_OWNER = 0, 1, 2, 3
JOIN_ASK, JOIN_OPEN, JOIN_CLOSED, JOIN_UNCHANGED = 0, 1, 2, 255
HISTORY_ALL, HISTORY_SINCE_JOIN = 0, 1


# ---------------------------------------------------------------------------------------------
# Errors


class ProtocolError(Exception):
    """The other side broke a rule of the protocol."""


class AuthenticationError(ProtocolError):
    """A signature, MAC, decryption or certificate is not right."""


class HandshakeRefused(Exception):
    """The broker refused the handshake."""

    def __init__(self, code: int, retry_after: int, text: str, authenticated: bool):
        known = REFUSALS.get(code, "unknown code")
        trust = "" if authenticated else " (unauthenticated)"
        super().__init__(f"refused with {code}, {known}{trust}: {text}")
        self.code, self.retry_after, self.text = code, retry_after, text
        self.authenticated = authenticated


class RequestRefused(Exception):
    """The broker refused a request or a publish."""

    def __init__(self, code: int, detail: int, text: str = ""):
        super().__init__(f"refused with {code} (detail {detail}): {text}")
        self.code, self.detail, self.text = code, detail, text


class SessionClosed(Exception):
    """The session is over: by a Close frame (`code` is a number), or cut (`code` is None)."""

    def __init__(self, code: int | None, text: str):
        super().__init__(f"closed with {code}: {text}" if code is not None else f"cut: {text}")
        self.code, self.text = code, text


# ---------------------------------------------------------------------------------------------
# Encodings (section 1)


def u8(value: int) -> bytes:
    return struct.pack(">B", value)


def u16(value: int) -> bytes:
    return struct.pack(">H", value)


def u32(value: int) -> bytes:
    return struct.pack(">I", value)


def u64(value: int) -> bytes:
    return struct.pack(">Q", value)


def bytes16(value: bytes) -> bytes:
    return u16(len(value)) + value


def str8(value: str) -> bytes:
    raw = value.encode()
    return u8(len(raw)) + raw


def str16(value: str) -> bytes:
    return bytes16(value.encode())


class Reader:
    """Takes fields off the front of some bytes; `end` checks that nothing is left behind."""

    def __init__(self, data: bytes):
        self._data, self._at = data, 0

    def take(self, count: int) -> bytes:
        if count > len(self._data) - self._at:
            raise ProtocolError("a field reaches beyond the end")
        self._at += count
        return self._data[self._at - count : self._at]

    def u8(self) -> int:
        return self.take(1)[0]

    def u16(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def u64(self) -> int:
        return int.from_bytes(self.take(8), "big")

    def flag(self) -> bool:
        value = self.u8()
        if value > 1:
            raise ProtocolError("a flag is neither 0 nor 1")
        return bool(value)

    def bytes16(self) -> bytes:
        return self.take(self.u16())

    def str8(self) -> str:
        return self._text(self.take(self.u8()))

    def str16(self) -> str:
        return self._text(self.bytes16())

    def list(self, item: Callable[[], Any]) -> list[Any]:
        return [item() for _ in range(self.u16())]

    @property
    def at(self) -> int:
        return self._at

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def end(self) -> None:
        if self.left:
            raise ProtocolError(f"{self.left} bytes behind the last field")

    @staticmethod
    def _text(raw: bytes) -> str:
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise ProtocolError("a text is not UTF-8") from error


# What the client takes for the time, in seconds since 1970; a test sets it wrong on purpose.
clock: Callable[[], float] = time.time


def now_ms() -> int:
    return int(clock() * 1000)


# ---------------------------------------------------------------------------------------------
# Primitives (section 1)


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def H(*items: bytes) -> bytes:
    """SHA-256 over each item, with its length in front."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(u32(len(item)))
        digest.update(item)
    return digest.digest()


def kdf(ikm: bytes, salt: bytes, label: str) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt, b"sealmq/1 " + label.encode()).derive(ikm)


def mac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def fernet_seal(key: bytes, plaintext: bytes) -> bytes:
    """A Fernet token in its binary form."""
    fernet = Fernet(base64.urlsafe_b64encode(key))
    return base64.urlsafe_b64decode(fernet.encrypt_at_time(plaintext, int(clock())))


def fernet_open(key: bytes, token: bytes) -> bytes:
    fernet = Fernet(base64.urlsafe_b64encode(key))
    try:
        return fernet.decrypt(base64.urlsafe_b64encode(token))
    except InvalidToken as error:
        raise AuthenticationError("a token does not open") from error


def _pss() -> padding.PSS:
    return padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)


def pss_sign(key: rsa.RSAPrivateKey, context: str, digest: bytes) -> bytes:
    return key.sign(context.encode() + b"\0" + digest, _pss(), hashes.SHA256())


def pss_verify(key: rsa.RSAPublicKey, context: str, digest: bytes, signature: bytes) -> None:
    if len(signature) != (key.key_size + 7) // 8:
        raise AuthenticationError("a signature is not as long as the modulus")
    try:
        key.verify(signature, context.encode() + b"\0" + digest, _pss(), hashes.SHA256())
    except InvalidSignature as error:
        raise AuthenticationError(f"wrong signature for {context!r}") from error


def _oaep(label: bytes) -> padding.OAEP:
    return padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=label)


def oaep_seal(key: rsa.RSAPublicKey, plaintext: bytes, label: bytes) -> bytes:
    return key.encrypt(plaintext, _oaep(label))


def oaep_open(key: rsa.RSAPrivateKey, ciphertext: bytes, label: bytes) -> bytes:
    try:
        return key.decrypt(ciphertext, _oaep(label))
    except ValueError as error:
        raise AuthenticationError("an OAEP envelope does not open") from error


def x25519(private: X25519PrivateKey, public: bytes) -> bytes:
    """The shared secret; all zeros is refused (the library raises ValueError for it)."""
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:
        raise AuthenticationError("the shared secret is all zeros") from error


# ---------------------------------------------------------------------------------------------
# Names


NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def check_name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise ProtocolError(f"{name!r} is not a name of a client or broker")
    return name


def check_topic_name(name: str) -> str:
    if not 1 <= len(name.encode()) <= 256 or name.startswith("$"):
        raise ProtocolError(f"{name!r} is not a topic name")
    if any(ch in "+#" or ord(ch) < 32 or 0x7F <= ord(ch) < 0xA0 for ch in name):
        raise ProtocolError(f"{name!r} is not a topic name")
    return name


# ---------------------------------------------------------------------------------------------
# Certificates (section 2)


def load_certificate(path: str | Path) -> x509.Certificate:
    raw = Path(path).read_bytes()
    return x509.load_pem_x509_certificate(raw) if b"-----BEGIN" in raw else x509.load_der_x509_certificate(raw)


def to_der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def fingerprint(certificate: x509.Certificate) -> bytes:
    """SHA-256 of the SubjectPublicKeyInfo."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return sha256(certificate.public_key().public_bytes(serialization.Encoding.DER, form))


def common_name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(names) != 1:
        raise AuthenticationError("a certificate has not exactly one common name")
    return check_name(str(names[0].value))


def check_certificate(
    der: bytes,
    ca: x509.Certificate,
    usage: x509.ObjectIdentifier,
    host: str | None = None,
    at: float | None = None,
) -> x509.Certificate:
    """Checks a certificate against the profile of section 2 and returns it.

    `at` is the time, in seconds since 1970, at which it has to be valid; None if that does not matter.
    """
    if len(der) > MAX_CERTIFICATE:
        raise AuthenticationError("a certificate is too large")
    try:
        certificate = x509.load_der_x509_certificate(der)
        key = certificate.public_key()
        extensions = certificate.extensions
    except Exception as error:  # the parser has several kinds of failure
        raise AuthenticationError(f"a certificate does not parse: {error}") from error
    if certificate.version is not x509.Version.v3:
        raise AuthenticationError("a certificate is not X.509 v3")
    if certificate.signature_algorithm_oid != SignatureAlgorithmOID.RSA_WITH_SHA256:
        raise AuthenticationError("a certificate is not signed with sha256WithRSAEncryption")
    try:
        certificate.verify_directly_issued_by(ca)
    except (InvalidSignature, ValueError, TypeError) as error:
        raise AuthenticationError("a certificate is not of this CA") from error
    if not isinstance(key, rsa.RSAPublicKey) or not 2048 <= key.key_size <= 4096:
        raise AuthenticationError("a certificate's key is not RSA of 2048 to 4096 bits")
    if key.public_numbers().e != 65537:
        raise AuthenticationError("a certificate's exponent is not 65537")
    common_name(certificate)
    if at is not None and at < certificate.not_valid_before_utc.timestamp():
        raise AuthenticationError("a certificate is not yet valid")
    if at is not None and at > certificate.not_valid_after_utc.timestamp():
        raise AuthenticationError("a certificate is expired")
    try:
        usages = list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        usages = []
    if usages != [usage]:
        raise AuthenticationError("a certificate has the wrong usage")
    if host is not None:
        check_host(certificate, host)
    return certificate


def check_host(certificate: x509.Certificate, host: str) -> None:
    """Checks that the certificate names the host: a DNS name as it is, an IP address as an address."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as error:
        raise AuthenticationError("the broker's certificate names no host") from error
    try:
        found = ipaddress.ip_address(host) in names.get_values_for_type(x509.IPAddress)
    except ValueError:
        found = host.lower() in [name.lower() for name in names.get_values_for_type(x509.DNSName)]
    if not found:
        raise AuthenticationError(f"the broker's certificate is not for {host}")


@dataclass(frozen=True)
class Identity:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey

    @staticmethod
    def load(certificate: str | Path, key: str | Path, password: bytes | None = None) -> Identity:
        private = serialization.load_pem_private_key(Path(key).read_bytes(), password)
        if not isinstance(private, rsa.RSAPrivateKey):
            raise ValueError("the key is not an RSA key")
        return Identity(load_certificate(certificate), private)

    @property
    def der(self) -> bytes:
        return to_der(self.certificate)

    @property
    def fingerprint(self) -> bytes:
        return fingerprint(self.certificate)

    @property
    def name(self) -> str:
        return common_name(self.certificate)


# ---------------------------------------------------------------------------------------------
# The batch's tree (section 3, RFC 9162, 2.1)


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


# ---------------------------------------------------------------------------------------------
# The handshake (section 3)


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
        """The refusal in a message of type 6 or 7."""
        if kind == REFUSAL:
            return parse_refusal(payload, authenticated=False)
        return parse_refusal(fernet_open(kdf(self.dh, self.th1, "refuse"), payload), authenticated=True)

    def run(self, read: Callable[[int], bytes], write: Callable[[bytes], None]) -> None:
        """Runs the whole handshake."""
        write(handshake_message(CLIENT_HELLO, self.hello()))
        payload = self._expect(BROKER_HELLO, (REFUSAL,), read)
        write(handshake_message(CLIENT_AUTH, self.on_broker_hello(payload)))
        payload = self._expect(SESSION_KEY, (SEALED_REFUSAL,), read)
        write(handshake_message(CLIENT_READY, self.on_session_key(payload)))

    def _expect(self, wanted: int, refusals: tuple[int, ...], read: Callable[[int], bytes]) -> bytes:
        kind, payload = read_handshake_message(read)
        if kind in refusals:
            raise self.refusal(kind, payload)
        if kind != wanted:
            raise ProtocolError(f"handshake message {kind} instead of {wanted}")
        return payload


# ---------------------------------------------------------------------------------------------
# Frames (sections 5 and 6)


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
"""

FRAME_FIELDS: dict[str, list[tuple[str, str]]] = {}
FRAME_CODES: dict[str, int] = {}
FRAME_NAMES: dict[int, str] = {}
for _line in _TABLE.strip().splitlines():
    _code, _name, _fields = _line.split(None, 2)
    FRAME_CODES[_name], FRAME_NAMES[int(_code, 16)] = int(_code, 16), _name
    FRAME_FIELDS[_name] = [(kind, key) for kind, key in (part.split() for part in _fields.split(", "))]

# The parts of the values of section 6 that are several fields together.
_GROUPS: dict[str, list[str]] = {
    "retention": ["u64", "u64", "u64"],
    "start": ["u8", "u64", "u64"],
    "client": ["bytes16", "u64"],
    "stat": ["str16", "u64"],
    "topic_entry": ["str16", "flag", "str8", "u16", "u8", "retention", "u64", "u64", "u64", "u64", "u64", "u64"],
}


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
        return tuple(_decode_value(part, reader) for part in _GROUPS[kind])
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


# ---------------------------------------------------------------------------------------------
# Records (section 4)


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


# ---------------------------------------------------------------------------------------------
# Membership records and topic keys (section 7.1 and 7.2)


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
    denied: list[bytes] = field(default_factory=list)
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
        u16(len(delta.denied)), *delta.denied,
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
        parsed.denied = reader.list(lambda: reader.take(32))
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
        self._snapshots: list[tuple[int, dict[bytes, Member]]] = []

    @property
    def newest(self) -> Epoch:
        return self.epochs[max(self.epochs)]

    def apply(self, offset: int, record: bytes, wrap: bytes, signer: Signer) -> None:
        """Checks the next record and takes it over; the signer's certificate has been checked."""
        parsed, signed, signature = parse_record(record)
        pss_verify(signer.key, "sealmq/1 topic record", signed, signature)
        if isinstance(parsed, Genesis):
            self._apply_genesis(parsed, record, signer)
        else:
            self._apply_delta(parsed, record, wrap, signer)
        self.head = sha256(record)
        self.number += 1
        self._snapshots.append((offset, dict(self.members)))

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
        if delta.join_policy != JOIN_UNCHANGED:
            self.join_policy = delta.join_policy
        if wrap:
            self._unwrap(wrap, dict(zip(wrapped_for, delta.wrap_hashes)))

    def _check_lists(self, delta: Delta) -> None:
        added, changed = [who for who, _, _ in delta.added], [who for who, _ in delta.changed]
        everyone = added + delta.removed + delta.denied + changed
        if not everyone and delta.join_policy == JOIN_UNCHANGED and delta.epoch is None:
            raise ProtocolError("a delta changes nothing")
        if len(everyone) != len(set(everyone)):
            raise ProtocolError("a delta names somebody twice")
        if len(delta.added) > MAX_ADDED or len(delta.denied) > MAX_ADDED:
            raise ProtocolError("a delta adds or denies too many")
        if any(who in self.members for who in added + delta.denied):
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

    def was_member(self, who: bytes, offset: int) -> bool:
        """Whether `who` was a member just before `offset` of the log."""
        place = bisect.bisect_left(self._snapshots, offset, key=lambda item: item[0])
        return place > 0 and who in self._snapshots[place - 1][1]


@dataclass
class NewTopic:
    """All that Create needs, and the topic's first key."""

    genesis: bytes
    delta: bytes
    wraps: list[bytes]
    topic_id: bytes
    key: bytes


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
    wraps = [
        oaep_seal(certificates[who].public_key(), key, wrap_label(topic_id, 0, who)) for who in sorted(certificates)
    ]
    delta = Delta(topic_id, 1, topic_id, owner.fingerprint, now_ms(), added)
    delta.epoch = (0, commitment(key, topic_id, 0), b"")
    delta.members_hash = members_hash(everyone)
    delta.wrap_hashes = [sha256(wrap) for wrap in wraps]
    return NewTopic(genesis, encode_delta(delta, owner.key), wraps, topic_id, key)


# ---------------------------------------------------------------------------------------------
# Bodies (section 7.3)


def _body_fields(topic_id: bytes, epoch: Epoch, publisher: bytes, counter: int) -> bytes:
    return u8(1) + u8(0) + topic_id + epoch.started_by + publisher + u64(counter)


def _body_key(topic_id: bytes, epoch: Epoch) -> bytes:
    if epoch.key is None:
        raise AuthenticationError(f"the key of epoch {epoch.number} is not known")
    return kdf(epoch.key, topic_id + u32(epoch.number), "body")


def seal_body(topic_id: bytes, epoch: Epoch, publisher: bytes, counter: int, content: bytes) -> bytes:
    if len(content) > MAX_CONTENT:
        raise ValueError("the message is too large")
    return fernet_seal(_body_key(topic_id, epoch), _body_fields(topic_id, epoch, publisher, counter) + content)


def open_body(topic_id: bytes, epoch: Epoch, publisher: bytes, counter: int, body: bytes) -> bytes:
    if len(body) > MAX_BODY:
        raise ProtocolError("a body is too large")
    plain = fernet_open(_body_key(topic_id, epoch), body)
    expected = _body_fields(topic_id, epoch, publisher, counter)
    if not hmac.compare_digest(plain[: len(expected)], expected):
        raise AuthenticationError("a body is of another topic, epoch, sender or message")
    content = plain[len(expected) :]
    if len(content) > MAX_CONTENT:
        raise ProtocolError("a message is too large")
    return content


# ---------------------------------------------------------------------------------------------
# The client


@dataclass
class Message:
    """A message as the application sees it."""

    topic: str
    offset: int
    time: int
    sender: str
    content: bytes


@dataclass
class Topic:
    """A topic that the session has opened."""

    handle: int
    name: str
    incarnation: int
    start: int
    end: int
    durability: int
    notice: int
    chain: Chain
    senders: dict[int, Frame] = field(default_factory=dict)
    caught_up: int | None = None
    gaps: list[tuple[int, int]] = field(default_factory=list)
    ended: int | None = None


class Client:
    """A session with a broker.

    A thread reads records, answers Pings and queues all other frames. Everything else happens in
    the caller's thread, in whichever method waits for something.
    """

    def __init__(self, sock: socket.socket, identity: Identity, ca: x509.Certificate, host: str):
        self.identity, self.ca = identity, ca
        self.sock = sock
        self.timeout = 20.0
        self.closed: SessionClosed | None = None
        self.topics: dict[int, Topic] = {}
        self.messages: deque[Message] = deque()
        self.publisher = os.urandom(16)
        self.counters: dict[str, int] = {}
        self._request = 0
        self._publisher_told = False
        self._answers: deque[Frame] = deque()
        self._frames: queue.Queue[Frame | SessionClosed] = queue.Queue()
        self._sending, self._pongs = threading.Lock(), deque[int]()
        self._keepalive = 60.0

        handshake = ClientHandshake(identity, ca, host)
        handshake.run(self._read_plain, self.sock.sendall)
        self.handshake = handshake
        self._out, self._in = Direction(handshake.send_key), Direction(handshake.receive_key)
        self.sock.settimeout(None)
        self._thread = threading.Thread(target=self._read_records, daemon=True)
        self._thread.start()
        self.welcome = self._wait(lambda frame: frame.kind == "Welcome")
        self._keepalive = float(self.welcome.keepalive)

    @staticmethod
    def connect(
        host: str, port: int, identity: Identity, ca: x509.Certificate, name: str | None = None, timeout: float = 10.0
    ) -> Client:
        """Dials, and does the handshake; `name` is the host to look for in the certificate."""
        sock = socket.create_connection((host, port), timeout)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return Client(sock, identity, ca, name or host)
        except BaseException:
            sock.close()
            raise

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Reading and writing

    def _read_plain(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            part = self.sock.recv(count - len(data))
            if not part:
                raise SessionClosed(None, "the broker closed the connection during the handshake")
            data += part
        return bytes(data)

    def _read_alive(self, count: int) -> bytes:
        """Reads exactly `count` bytes, and sends a Ping when nothing comes for long."""
        data, silent = bytearray(), 0
        while len(data) < count:
            if not select.select([self.sock], [], [], self._keepalive)[0]:
                silent += 1
                if silent >= 2:
                    raise SessionClosed(None, "nothing heard for twice the keepalive")
                self.send(Frame("Ping", {"number": now_ms()}))
                continue
            part = self.sock.recv(min(count - len(data), 1 << 18))
            if not part:
                raise SessionClosed(None, "the broker closed the connection")
            data, silent = data + part, 0
        return bytes(data)

    def _read_records(self) -> None:
        """The reading thread."""
        first = True
        try:
            while True:
                if first:
                    frames, first = self._read_first(), False
                else:
                    frames = self._in.read(self._read_alive)
                for frame in frames:
                    if frame.kind == "Ping":
                        self._pongs.append(frame.number)
                    elif frame.kind == "Close":
                        raise SessionClosed(frame.code, frame.text)
                    elif FRAME_CODES[frame.kind] < 0x40 and frame.kind != "Pong":
                        raise ProtocolError(f"the broker sent a {frame.kind}")
                    else:
                        self._frames.put(frame)
                self._flush_pongs()
        except SessionClosed as error:
            self._frames.put(error)
        except (ProtocolError, HandshakeRefused, OSError, ValueError) as error:
            self._frames.put(SessionClosed(None, str(error)))
        finally:
            try:
                self.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _read_first(self) -> list[Frame]:
        """The first record; a SealedRefusal of ClientReady may stand in its place.

        A token begins with 0x80 and a SealedRefusal with 7, so that the two can be told apart.
        """
        length = self._read_alive(4)
        first = self._read_alive(1)
        if first == u8(SEALED_REFUSAL):
            size = int.from_bytes(length, "big")
            if size > MAX_HANDSHAKE:
                raise ProtocolError("a refusal is too large")
            raise self.handshake.refusal(SEALED_REFUSAL, self._read_alive(size - 1))
        ahead = length + first

        def read(count: int) -> bytes:
            nonlocal ahead
            taken, ahead = ahead[:count], ahead[count:]
            return taken + self._read_alive(count - len(taken))

        return self._in.read(read)

    def _flush_pongs(self) -> None:
        """Answers Pings, unless another thread is sending: then that one answers them behind."""
        while self._pongs and self._sending.acquire(blocking=False):
            try:
                self._write([])
            finally:
                self._sending.release()

    def _write(self, frames: list[Frame]) -> None:
        pongs = []
        while self._pongs and len(pongs) < 100:
            pongs.append(Frame("Pong", {"number": self._pongs.popleft()}))
        self.sock.sendall(self._out.seal(pongs + frames))

    def send(self, *frames: Frame) -> None:
        """Sends the frames in one record."""
        with self._sending:
            self._write(list(frames))
        self._flush_pongs()

    def _wait(self, wanted: Callable[[Frame], bool], timeout: float | None = None) -> Frame:
        """Waits for a frame that is `wanted`; on the way takes over what the other frames say."""
        until = time.monotonic() + (self.timeout if timeout is None else timeout)
        for frame in list(self._answers):
            if wanted(frame):
                self._answers.remove(frame)
                return frame
        while True:
            frame = self._next(until - time.monotonic())
            if wanted(frame):
                return frame
            if frame.kind in ("Published", "PublishRefused", "Topic", "Ended", "CrlChanged", "Pong"):
                self._answers.append(frame)

    def _next(self, timeout: float) -> Frame:
        if self.closed:
            raise self.closed
        try:
            item = self._frames.get(timeout=max(timeout, 0.0))
        except queue.Empty:
            raise TimeoutError("the broker did not send what was waited for") from None
        if isinstance(item, SessionClosed):
            self.closed = item
            raise item
        self._take(item)
        return item

    # What the broker says

    def _take(self, frame: Frame) -> None:
        """Takes over what a frame says about a topic."""
        if frame.kind == "Topic":
            known = self.topics.get(frame.topic)
            if known is None:
                chain = Chain(check_topic_name(frame.name), self.identity.fingerprint, self.identity.key)
                self.topics[frame.topic] = Topic(
                    frame.topic, frame.name, frame.incarnation, frame.start, frame.end, frame.durability,
                    frame.notice, chain,
                )
            else:
                known.start, known.end, known.notice = frame.start, frame.end, frame.notice
                known.caught_up = None
        elif frame.kind == "Record":
            certificate = check_certificate(frame.certificate, self.ca, ExtendedKeyUsageOID.CLIENT_AUTH)
            self._topic(frame).chain.apply(frame.offset, frame.record, frame.wrap, Signer.of(certificate))
        elif frame.kind == "Sender":
            self._take_sender(frame)
        elif frame.kind == "Message":
            self._take_message(frame)
        elif frame.kind == "CaughtUp":
            self._topic(frame).caught_up = frame.next
        elif frame.kind == "Gap":
            self._topic(frame).gaps.append((frame.start, frame.to))
        elif frame.kind == "Ended":
            self._topic(frame).ended = frame.code

    def _topic(self, frame: Frame) -> Topic:
        try:
            return self.topics[frame.topic]
        except KeyError:
            raise ProtocolError(f"{frame.kind} for an unknown topic") from None

    def _take_sender(self, frame: Frame) -> None:
        if frame.delegation:
            raise ProtocolError("delegations are not known to this client")
        certificate = check_certificate(frame.certificate, self.ca, ExtendedKeyUsageOID.CLIENT_AUTH)
        if fingerprint(certificate) != frame.fingerprint or common_name(certificate) != frame.name:
            raise AuthenticationError("a Sender's certificate is another's")
        known = self._topic(frame).senders.setdefault(frame.sender, frame)
        if (known.publisher, known.fingerprint) != (frame.publisher, frame.fingerprint):
            raise ProtocolError("a sender's number was used for two senders")

    def _take_message(self, frame: Frame) -> None:
        topic = self._topic(frame)
        sender, epoch = topic.senders.get(frame.sender), topic.chain.epochs.get(frame.epoch)
        if sender is None or epoch is None:
            raise ProtocolError("a message of an unknown sender or epoch")
        if not topic.chain.was_member(sender.fingerprint, frame.offset):
            raise AuthenticationError("a message of one who was not a member")
        content = open_body(topic.chain.topic_id, epoch, sender.publisher, frame.counter, frame.body)
        self.messages.append(Message(topic.name, frame.offset, frame.time, sender.name, content))

    # Requests

    def request(self, kind: str, /, **fields: Any) -> int:
        """Sends a request and gives its number."""
        self._request += 1
        self.send(Frame(kind, {"request": self._request, **fields}))
        return self._request

    def answer(self, number: int, *kinds: str) -> Frame:
        """Waits for a request's answer."""
        frame = self._wait(lambda f: f.kind in (*kinds, "Refused") and f.request == number)
        if frame.kind == "Refused":
            raise RequestRefused(frame.code, frame.detail, frame.text)
        return frame

    def clients(self, names: Sequence[str] = ()) -> list[tuple[x509.Certificate, int]]:
        """The certificates that the broker knows, checked, with the time each was last seen."""
        found, after = [], bytes(32)
        while True:
            page = self.answer(self.request("ListClients", after=after, names=list(names)), "Clients")
            for der, seen in page.clients:
                certificate = check_certificate(der, self.ca, ExtendedKeyUsageOID.CLIENT_AUTH, at=clock())
                found.append((certificate, seen))
                after = fingerprint(certificate)
            if not page.more or not page.clients:
                return found

    def list_topics(self, pattern: str = "#") -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = []
        while True:
            after = found[-1][0] if found else ""
            page = self.answer(self.request("ListTopics", after=after, filter=pattern), "Topics")
            found += page.topics
            if not page.more or not page.topics:
                return found

    def create(
        self,
        name: str,
        members: Sequence[str],
        durability: int = DURABILITY_MEMORY,
        retention: tuple[int, int, int] = (0, 0, 0),
        **policy: int,
    ) -> Topic:
        """Creates a topic for this client and the named ones, and waits for its records."""
        known = [(certificate, ROLE_MEMBER) for certificate, _ in self.clients(members)] if members else []
        missing = set(members) - {common_name(certificate) for certificate, _ in known}
        if missing:
            raise ValueError(f"the broker knows no certificate of {sorted(missing)}")
        return self.create_from(name, make_topic(self.identity, name, known, **policy), durability, retention)

    def create_from(
        self, name: str, new: NewTopic, durability: int = DURABILITY_MEMORY, retention: tuple[int, int, int] = (0, 0, 0)
    ) -> Topic:
        for at in range(0, len(new.wraps), 50):
            self.send(Frame("Wraps", {"wraps": new.wraps[at : at + 50]}))
        number = self.request(
            "Create", name=name, durability=durability, retention=retention, genesis=new.genesis, delta=new.delta
        )
        return self._with_key(self.topics[self.answer(number, "Topic").topic])

    def open(self, name: str, start: Start = RECORDS_ONLY) -> Topic:
        """Opens a topic and waits until its key is known."""
        frame = self.answer(self.request("Open", name=name, start=start), "Topic")
        return self._with_key(self.topics[frame.topic])

    def _with_key(self, topic: Topic) -> Topic:
        chain = topic.chain
        while not chain.epochs or chain.newest.key is None:
            self._wait(lambda frame: frame.kind == "Record" and frame.topic == topic.handle)
        return topic

    def subscribe(self, pattern: str, start: Start = LATEST) -> Frame:
        """Subscribes; the topics come into `topics`, their messages into `messages`."""
        return self.answer(self.request("Subscribe", filter=pattern, start=start), "Subscribed")

    def unsubscribe(self, pattern: str) -> None:
        self.answer(self.request("Unsubscribe", filter=pattern), "Done")

    def ping(self) -> None:
        number = int.from_bytes(os.urandom(8), "big")
        self.send(Frame("Ping", {"number": number}))
        self._wait(lambda frame: frame.kind == "Pong" and frame.number == number)

    # Messages

    def receive(self, timeout: float | None = None) -> Message:
        """The next message of any subscribed topic."""
        until = time.monotonic() + (self.timeout if timeout is None else timeout)
        while not self.messages:
            frame = self._next(until - time.monotonic())
            if frame.kind in ("Topic", "Published", "PublishRefused"):
                self._answers.append(frame)
        return self.messages.popleft()

    def receive_past(self, topic_name: str) -> list[Message]:
        """The messages of a subscribed topic up to its CaughtUp."""

        def caught_up() -> bool:
            return any(t.name == topic_name and t.caught_up is not None for t in self.topics.values())

        if not caught_up():
            self._wait(lambda _: caught_up())
        past = [message for message in self.messages if message.topic == topic_name]
        self.messages = deque(message for message in self.messages if message.topic != topic_name)
        return past

    def publish(self, topic: Topic, content: bytes) -> int:
        """Publishes one message and gives its offset."""
        return self.publish_all(topic, [content])[0]

    def publish_all(self, topic: Topic, contents: Sequence[bytes]) -> list[int]:
        """Publishes messages, as many at a time as the broker's window allows."""
        offsets: list[int] = []
        first = self.counters.get(topic.name, 0)
        sent = 0
        while len(offsets) < len(contents):
            while sent < len(contents) and sent - len(offsets) < self.welcome.window:
                self.send_publish(topic, first + sent, contents[sent])
                sent += 1
            try:
                offsets.append(self.published(topic, first + len(offsets)))
                self.counters[topic.name] = first + len(offsets)
            except RequestRefused as error:
                if error.code != 11:
                    raise
                # Another epoch: the ones behind are refused too (18), then all are sealed again.
                for counter in range(first + len(offsets) + 1, first + sent):
                    self._publish_answer(topic, counter)
                sent = len(offsets)
                if error.detail not in topic.chain.epochs:
                    self._wait(lambda _, newest=error.detail: newest in topic.chain.epochs)
        return offsets

    def send_publish(self, topic: Topic, counter: int, content: bytes) -> None:
        """Seals and sends one message under a counter, without waiting for the answer."""
        epoch = topic.chain.newest
        body = seal_body(topic.chain.topic_id, epoch, self.publisher, counter, content)
        self.send_body(topic.handle, epoch.number, counter, body)

    def send_body(self, handle: int, epoch: int, counter: int, body: bytes) -> None:
        frames = []
        if not self._publisher_told:
            frames.append(Frame("Publisher", {"slot": 0, "publisher": self.publisher, "delegation": b""}))
            self._publisher_told = True
        fields = {"slot": 0, "topic": handle, "epoch": epoch, "counter": counter, "body": body}
        self.send(*frames, Frame("Publish", fields))

    def published(self, topic: Topic, counter: int) -> int:
        """Waits for a Publish's answer; gives the offset."""
        frame = self._publish_answer(topic, counter)
        if frame.kind == "PublishRefused":
            raise RequestRefused(frame.code, frame.detail, "publish")
        return frame.offset

    def _publish_answer(self, topic: Topic, counter: int) -> Frame:
        return self._wait(
            lambda f: f.kind in ("Published", "PublishRefused") and (f.topic, f.counter) == (topic.handle, counter)
        )

    # The end

    def exit(self, forget: bool = False) -> SessionClosed:
        """Asks the broker to end the session; gives what it ended with."""
        self.send(Frame("Exit", {"forget": forget}))
        return self.wait_closed()

    def wait_closed(self, timeout: float | None = None) -> SessionClosed:
        """Reads on until the session is over."""
        until = time.monotonic() + (self.timeout if timeout is None else timeout)
        try:
            while True:
                self._next(until - time.monotonic())
        except SessionClosed as error:
            return error

    def close(self) -> None:
        """Closes the connection as it is."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._thread.join(5)
        self.sock.close()
