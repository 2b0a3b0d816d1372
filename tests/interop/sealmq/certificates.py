"""Certificates, and who somebody is by them (section 2 of the page)."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtensionOID, NameOID

from .primitives import sha256
from .wire import MAX_CERTIFICATE, AuthenticationError, check_name

SHA256_WITH_RSA = bytes.fromhex("300d06092a864886f70d01010b0500")
LIFETIME_MAX = timedelta(days=398)
SKEW = 300
MAY_BE_CRITICAL = {ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE}

Extension = TypeVar("Extension", bound=x509.ExtensionType)


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
    String types and unique identifiers, which the library does not show, are left to the broker.
    """
    if len(der) > MAX_CERTIFICATE:
        raise AuthenticationError("a certificate is too large")
    try:
        certificate = x509.load_der_x509_certificate(der)
        extensions = certificate.extensions
        certificate.public_key()
    except Exception as error:  # the parser has several kinds of failure
        raise AuthenticationError(f"a certificate does not parse: {error}") from error
    if certificate.version is not x509.Version.v3:
        raise AuthenticationError("a certificate is not X.509 v3")
    if not 0 < certificate.serial_number < 2**159:
        raise AuthenticationError("a certificate's serial number is not of 1 to 20 bytes")
    check_issuer(certificate, ca)
    check_key(certificate, ca)
    common_name(certificate)
    check_extensions(extensions, ca, usage)
    if certificate.not_valid_after_utc - certificate.not_valid_before_utc > LIFETIME_MAX:
        raise AuthenticationError("a certificate lives for too long")
    for dated in (certificate, ca) if at is not None else ():
        if at + SKEW < dated.not_valid_before_utc.timestamp():
            raise AuthenticationError("a certificate is not yet valid")
        if at - SKEW > dated.not_valid_after_utc.timestamp():
            raise AuthenticationError("a certificate is expired")
    if host is not None:
        check_host(certificate, host)
    return certificate


def check_issuer(certificate: x509.Certificate, ca: x509.Certificate) -> None:
    tbs = certificate.tbs_certificate_bytes
    outer = to_der(certificate).split(tbs, 1)[1]
    if not outer.startswith(SHA256_WITH_RSA) or SHA256_WITH_RSA not in tbs:
        raise AuthenticationError("a certificate is not signed with sha256WithRSAEncryption")
    try:
        certificate.verify_directly_issued_by(ca)
    except (InvalidSignature, ValueError, TypeError) as error:
        raise AuthenticationError("a certificate is not of this CA") from error


def check_key(certificate: x509.Certificate, ca: x509.Certificate) -> None:
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or not 2048 <= key.key_size <= 4096:
        raise AuthenticationError("a certificate's key is not RSA of 2048 to 4096 bits")
    if key.public_numbers().e != 65537:
        raise AuthenticationError("a certificate's exponent is not 65537")
    if key == ca.public_key():
        raise AuthenticationError("a certificate's key is the CA's own")


def check_extensions(extensions: x509.Extensions, ca: x509.Certificate, usage: x509.ObjectIdentifier) -> None:
    def find(kind: type[Extension]) -> Extension | None:
        try:
            return extensions.get_extension_for_class(kind).value
        except x509.ExtensionNotFound:
            return None

    if any(e.critical and e.oid not in MAY_BE_CRITICAL for e in extensions):
        raise AuthenticationError("a certificate has a critical extension that is not known")
    if find(x509.NameConstraints) is not None:
        raise AuthenticationError("a certificate has name constraints")
    constraints, key_usage = find(x509.BasicConstraints), find(x509.KeyUsage)
    if constraints is None or constraints.ca:
        raise AuthenticationError("a certificate is a CA's")
    if key_usage is None or not key_usage.digital_signature or key_usage.key_cert_sign or key_usage.crl_sign:
        raise AuthenticationError("a certificate has the wrong key usage")
    if list(find(x509.ExtendedKeyUsage) or []) != [usage]:
        raise AuthenticationError("a certificate has the wrong usage")
    check_authority(find(x509.AuthorityKeyIdentifier), ca)
    subject_key = find(x509.SubjectKeyIdentifier)
    if subject_key is not None and not 1 <= len(subject_key.digest) <= 64:
        raise AuthenticationError("a certificate's subject key identifier is not of 1 to 64 bytes")
    names = find(x509.SubjectAlternativeName) or []
    if any(not isinstance(name, (x509.DNSName, x509.IPAddress)) for name in names):
        raise AuthenticationError("a certificate names more than hosts and addresses")


def check_authority(authority: x509.AuthorityKeyIdentifier | None, ca: x509.Certificate) -> None:
    wanted = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    if authority != x509.AuthorityKeyIdentifier(wanted, None, None):
        raise AuthenticationError("a certificate's authority key identifier is not the CA's")


def check_crl(der: bytes, ca: x509.Certificate) -> tuple[int, set[int], float]:
    """Checks a revocation list; gives its number, the serial numbers on it, and until when it is in force."""
    try:
        crl = x509.load_der_x509_crl(der)
        authority = crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except (ValueError, x509.ExtensionNotFound) as error:
        raise AuthenticationError(f"a CRL does not parse: {error}") from error
    if crl.issuer != ca.subject or not crl.is_signature_valid(ca.public_key()):
        raise AuthenticationError("a CRL is not of this CA")
    check_authority(authority, ca)
    if crl.next_update_utc is None or number >= 2**64:
        raise AuthenticationError("a CRL has no next update, or too large a number")
    return number, {entry.serial_number for entry in crl}, crl.next_update_utc.timestamp()


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
