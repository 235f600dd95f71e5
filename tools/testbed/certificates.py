"""A certificate authority for one cluster, and the certificates and keys it issues.

Elliptic curve keys (P-256): they take a millisecond to make where RSA takes a tenth of a second.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFETIME = datetime.timedelta(days=365)


def write_private(path: Path, content: bytes) -> None:
    """Write a file that nobody but its owner can read, not even for a moment."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def new_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Make a private key and keep it at the path."""
    key = ec.generate_private_key(ec.SECP256R1())
    write_private(
        path,
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
    return key


def write_public_key(key: ec.EllipticCurvePrivateKey, path: Path) -> None:
    path.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


def signing_request(key: ec.EllipticCurvePrivateKey, user: str, groups: Iterable[str]) -> bytes:
    """A certificate signing request (PEM) for a user, as the certificates API takes it."""
    request = x509.CertificateSigningRequestBuilder().subject_name(_subject(user, groups))
    return request.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


class Authority:
    """A certificate authority in a directory: `ca.crt` and `ca.key`; made on first use."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.certificate_file = directory / "ca.crt"
        self._key_file = directory / "ca.key"
        if self.certificate_file.exists():
            self._certificate = x509.load_pem_x509_certificate(self.certificate_file.read_bytes())
            key = serialization.load_pem_private_key(self._key_file.read_bytes(), password=None)
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                raise TypeError(f"{self._key_file} holds no elliptic curve key")
            self._key = key
        else:
            self._create()

    def issue(
        self, common_name: str, organizations: Iterable[str] = (), hosts: Iterable[str] = ()
    ) -> tuple[Path, Path]:
        """Issue a certificate for clients, and for servers where there are hosts.

        The same arguments give the same files, issued once. Kubernetes takes the common name for
        the user and the organizations for the groups.

        Returns:
            The paths of the certificate and of its key, both PEM.
        """
        organizations, hosts = list(organizations), list(hosts)
        name = _file_name(common_name, organizations, hosts)
        certificate_file = self.directory / f"{name}.crt"
        key_file = self.directory / f"{name}.key"
        if certificate_file.exists() and key_file.exists():
            return certificate_file, key_file
        key = new_key(key_file)
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if hosts:
            usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
        builder = (
            _builder(_subject(common_name, organizations), self._certificate.subject, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        if hosts:
            names = [_general_name(host) for host in hosts]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return certificate_file, key_file

    def _create(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._key = new_key(self._key_file)
        subject = _subject("taskrunner-testbed", ())
        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=True, crl_sign=True,
            content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        self._certificate = (
            _builder(subject, subject, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        self.certificate_file.write_bytes(
            self._certificate.public_bytes(serialization.Encoding.PEM)
        )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))  # clocks of pods and nodes may differ
        .not_valid_after(now + _LIFETIME)
    )


def _subject(common_name: str, organizations: Iterable[str]) -> x509.Name:
    groups = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in organizations]
    return x509.Name([*groups, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _file_name(common_name: str, organizations: list[str], hosts: list[str]) -> str:
    parts = "-".join([common_name, *organizations])
    readable = "".join(char if char.isalnum() else "-" for char in parts)[:60]
    digest = hashes.Hash(hashes.SHA256())
    digest.update(repr((common_name, organizations, hosts)).encode())
    return f"{readable}-{digest.finalize().hex()[:8]}"
