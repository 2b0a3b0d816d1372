"""A certificate authority for tests: makes certificates of the protocol's profile, and bad ones."""

from __future__ import annotations

import ipaddress
from datetime import datetime, timedelta, timezone
from typing import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sealmq import Identity


def new_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def make_ca(name: str = "Test CA", key: rsa.RSAPrivateKey | None = None) -> Identity:
    """A new CA, self-signed."""
    key = key or new_key()
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Identity(certificate, key)


def _usage(sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        key_encipherment=not sign_certificates,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def issue(
    ca: Identity | None,
    name: str,
    broker_hosts: Sequence[str] = (),
    days: tuple[float, float] = (-1, 29),
    key: rsa.RSAPrivateKey | None = None,
    issuer_name: x509.Name | None = None,
) -> Identity:
    """A certificate by `ca` (None: self-signed); for a broker if hosts are given.

    `days` are the days from now from which and until which it is valid.
    """
    key = key or new_key()
    subject = _name(name)
    now = datetime.now(timezone.utc)
    issuer_key = ca.key if ca else key
    usage = ExtendedKeyUsageOID.SERVER_AUTH if broker_hosts else ExtendedKeyUsageOID.CLIENT_AUTH
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer_name or (ca.certificate.subject if ca else subject))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_authority(ca, key), critical=False)
    )
    if broker_hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([_host(host) for host in broker_hosts]), False)
    return Identity(builder.sign(issuer_key, hashes.SHA256()), key)


def _authority(ca: Identity | None, key: rsa.RSAPrivateKey) -> x509.AuthorityKeyIdentifier:
    """Names the CA's key as the CA's own certificate names it, which need not be by SHA-1."""
    if ca is None:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    identifier = ca.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
