"""Ed25519 as section 1 of the page wants it: strict where the library is not asked to be."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from .wire import AuthenticationError

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P


def _square_root(value: int) -> int | None:
    """A square root modulo P, which is 5 modulo 8 (RFC 8032, 5.1.3)."""
    value %= P
    root = pow(value, (P + 3) // 8, P)
    for candidate in (root, root * pow(2, (P - 1) // 4, P) % P):
        if candidate * candidate % P == value:
            return candidate
    return None


def _small_order() -> frozenset[int]:
    """The y coordinates of the eight points whose order divides 8.

    Those of order 1 and 2 are (0, 1) and (0, -1); those of order 4 have y = 0. A point of order 8 doubles to y = 0,
    so that x^2 = -y^2, and with the curve's equation D y^4 + 2 y^2 - 1 = 0.
    """
    found = {0, 1, P - 1}
    root = _square_root(1 + D)
    assert root is not None
    for sign in (root, -root):
        y = _square_root((sign - 1) * pow(D, -1, P))
        if y is not None and _square_root(-y * y) is not None:
            found |= {y, P - y}
    assert len(found) == 5
    return frozenset(found)


SMALL_ORDER = _small_order()


def is_small_order(point: bytes) -> bool:
    """Whether the encoded point is of small order, in whatever of its encodings."""
    return (int.from_bytes(point, "little") & (2**255 - 1)) % P in SMALL_ORDER


def check_ed25519_key(key: bytes) -> bytes:
    """Takes a verifying key if it is a point of the curve, and not of small order."""
    if len(key) != 32:
        raise AuthenticationError("an Ed25519 key is not of 32 bytes")
    y = int.from_bytes(key, "little") & (2**255 - 1)
    if _square_root((y * y - 1) * pow(D * y * y + 1, -1, P)) is None:
        raise AuthenticationError("an Ed25519 key is no point of the curve")
    if is_small_order(key):
        raise AuthenticationError("an Ed25519 key is of small order")
    return key


def ed25519_sign(key: Ed25519PrivateKey, context: str, digest: bytes) -> bytes:
    return key.sign(context.encode() + b"\0" + digest)


def ed25519_verify(key: bytes, context: str, digest: bytes, signature: bytes) -> None:
    """The library's equation is the one without the cofactor, over the encoding of R; the rest is done here."""
    if len(signature) != 64 or int.from_bytes(signature[32:], "little") >= ORDER:
        raise AuthenticationError("an Ed25519 signature has an S that is too large")
    if is_small_order(key) or is_small_order(signature[:32]):
        raise AuthenticationError("an Ed25519 key or R is of small order")
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, context.encode() + b"\0" + digest)
    except (InvalidSignature, ValueError) as error:
        raise AuthenticationError(f"wrong signature for {context!r}") from error
