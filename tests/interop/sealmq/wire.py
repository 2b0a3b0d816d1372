"""Errors, limits, encodings and names (section 1 of the page)."""

from __future__ import annotations

import re
import struct
import time
from typing import Any, Callable

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
MAX_BECAUSE = 256

REFUSALS = {
    1: "unsupported version", 2: "malformed", 3: "unexpected message", 4: "too large", 5: "busy",
    6: "timeout", 10: "certificate not in the profile", 11: "certificate expired",
    12: "certificate not yet valid", 13: "certificate revoked", 14: "certificate not of this CA",
    15: "wrong name in the certificate", 16: "wrong usage in the certificate",
    17: "authentication failed", 20: "shutting down",
}


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


class Clock:
    """What the client takes for the time, in seconds since 1970; a test sets `read` to something wrong on purpose."""

    def __init__(self) -> None:
        self.read = time.time

    def __call__(self) -> float:
        return self.read()


clock = Clock()


def now_ms() -> int:
    return int(clock() * 1000)


NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def check_name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise ProtocolError(f"{name!r} is not a name of a client or broker")
    return name


def has_controls(text: str) -> bool:
    """Whether there are characters of Unicode's category Cc in it."""
    return any(ord(ch) < 32 or 0x7F <= ord(ch) < 0xA0 for ch in text)


def check_topic_name(name: str) -> str:
    if not 1 <= len(name.encode()) <= 256 or name.startswith("$"):
        raise ProtocolError(f"{name!r} is not a topic name")
    if has_controls(name) or "+" in name or "#" in name:
        raise ProtocolError(f"{name!r} is not a topic name")
    return name


def check_because(text: str) -> str:
    if len(text.encode()) > MAX_BECAUSE or has_controls(text):
        raise ProtocolError("a reason for a denial is too long or has control characters")
    return text
