"""Certificates: how they are made, and when which one is used. Pure but for randomness of keys.

Each certificate has an authority of its own, whose key is thrown away once it has signed: nobody
can sign a second one with it. A renewal has two steps, so that no request fails on the way:

1. *next* is made and its authority joins the bundle that the API server trusts; *current* goes on.
2. When the API server has had time to take the bundle over, *next* becomes *current*.

The old authority stays in the bundle until it expires, for replicas that are a look behind.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

BACKDATED: Final = timedelta(hours=1)
"""Certificates are valid from before they were made: clocks of nodes differ."""
RENEW_AFTER: Final = 2 / 3
"""Part of the lifetime after which a certificate is replaced."""
MAX_AUTHORITIES: Final = 5
"""Authorities kept in the bundle. A normal renewal has two or three; more come only from replicas
that do not agree on the names, as in a rollout that renames the Service."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, PEM."""

    certificate: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Held:
    """What the replicas share. `bundle` are the authorities to trust, the newest first, PEM."""

    bundle: bytes = b""
    current: Pair | None = None
    next: Pair | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """What certificates shall be."""

    names: Sequence[str]
    """DNS names and addresses of the server."""
    lifetime: float
    """Seconds from making to expiry."""
    settle: float
    """Seconds for which the API server must have trusted the authority of `next` before it is
    used."""


def next_step(held: Held, policy: Policy, *, now: float, trusted: float | None) -> Held | None:
    """What shall be held from now on; None when all is right as it is.

    `trusted` says for how many seconds the API server has been seen to trust `held.bundle`; None
    when it does not (yet).
    """
    authorities = _valid(held.bundle, now)
    if not _usable(held.current, authorities, policy.names, now):
        # Nothing to lose: requests fail anyway until the API server trusts the new authority.
        authority, pair = issue(policy.names, now=now, lifetime=policy.lifetime)
        return Held(_joined([authority, *authorities]), pair)
    assert held.current is not None
    if held.next is not None:
        if not _usable(held.next, authorities, policy.names, now):
            return replace(held, next=None)
        if trusted is not None and trusted >= policy.settle:
            return Held(_joined(authorities), held.next)
        return None
    if now >= _renewal(held.current, policy.lifetime):
        authority, pair = issue(policy.names, now=now, lifetime=policy.lifetime)
        return Held(_joined([authority, *authorities]), held.current, pair)
    kept = _joined(authorities)
    return replace(held, bundle=kept) if kept != held.bundle else None


def issue(names: Iterable[str], *, now: float, lifetime: float) -> tuple[x509.Certificate, Pair]:
    """A new authority and a certificate by it. The authority's key is gone afterwards."""
    made = datetime.fromtimestamp(now, UTC).replace(microsecond=0)
    until = made + timedelta(seconds=lifetime)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    # A name of its own for each: while two are trusted, verifiers must not take one for the other.
    authority_name = _name(f"taskrunner webhook authority {serial:x}"[:60])
    authority = (
        _builder(authority_name, authority_name, authority_key.public_key(), made, until)
        .serial_number(serial)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False
        )
        .sign(authority_key, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder(_name("taskrunner webhook"), authority_name, key.public_key(), made, until)
        .serial_number(x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
            critical=False,
        )
        .sign(authority_key, hashes.SHA256())
    )
    encoded = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return authority, Pair(certificate.public_bytes(serialization.Encoding.PEM), encoded)


def expiry(certificate: bytes) -> float:
    """When a certificate (PEM, the first one of a chain) expires, seconds since the epoch.

    Raises ValueError when it is none.
    """
    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc.timestamp()


# --- what is held -------------------------------------------------------------------------------


def _valid(bundle: bytes, now: float) -> list[x509.Certificate]:
    """The authorities of a bundle that have not expired; none when it cannot be read."""
    try:
        found = x509.load_pem_x509_certificates(bundle) if bundle.strip() else []
    except ValueError:
        return []
    return [one for one in found if one.not_valid_after_utc.timestamp() > now]


def _usable(
    pair: Pair | None, authorities: Iterable[x509.Certificate], names: Iterable[str], now: float
) -> bool:
    """Whether the pair is whole, valid now, for these names, and by one of these authorities.

    Anything may be in the Secret: somebody edited it, or it was restored from a backup.
    """
    if pair is None:
        return False
    try:
        certificate = x509.load_pem_x509_certificate(pair.certificate)
        key = serialization.load_pem_private_key(pair.key, password=None)
        alternatives = certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value
    except (ValueError, TypeError, x509.ExtensionNotFound):
        return False
    return (
        key.public_key() == certificate.public_key()
        and certificate.not_valid_before_utc.timestamp() <= now
        and certificate.not_valid_after_utc.timestamp() > now
        and {_general_name(name) for name in names} <= set(alternatives)
        and any(_signed(certificate, authority) for authority in authorities)
    )


def _signed(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _renewal(pair: Pair, lifetime: float) -> float:
    """When to replace a certificate, by its own expiry and the lifetime it shall have."""
    return expiry(pair.certificate) - (1 - RENEW_AFTER) * lifetime


# --- how certificates are made ------------------------------------------------------------------


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    made: datetime,
    until: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .not_valid_before(made - BACKDATED)
        .not_valid_after(until)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _joined(authorities: Sequence[x509.Certificate]) -> bytes:
    newest = authorities[:MAX_AUTHORITIES]
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in newest)
