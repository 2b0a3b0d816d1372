"""Hashes, key derivation, Fernet, PSS, OAEP and X25519 (section 1 of the page)."""

from __future__ import annotations

import base64
import hashlib
import hmac

from cryptography.exceptions import InvalidSignature
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .wire import AuthenticationError, clock, u32

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
