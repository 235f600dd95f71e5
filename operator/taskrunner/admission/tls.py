"""The certificate that is served, replaced without a restart."""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from taskrunner.admission.certificates import Pair, expiry
from taskrunner.errors import TaskrunnerError


class CertificateError(TaskrunnerError):
    """A certificate and key that cannot be used; the message says why, never what the key is."""


class ServingTls:
    """A TLS context whose certificate can be replaced: new connections get the new one, open ones
    are not touched."""

    def __init__(self) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.expires: float | None = None
        """When the certificate expires, seconds since the epoch; None while there is none."""
        self._pair: Pair | None = None

    def load(self, pair: Pair) -> bool:
        """Serve this certificate from now on; False when it is in use already.

        Raises CertificateError; then the one before stays.
        """
        if pair == self._pair:
            return False
        # A trial first: a context that was given a certificate without its key serves neither.
        _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), pair)
        _load(self.context, pair)
        self._pair, self.expires = pair, expiry(pair.certificate)
        return True


def _load(context: ssl.SSLContext, pair: Pair) -> None:
    try:
        expiry(pair.certificate)
        with _as_file(pair.certificate.rstrip() + b"\n" + pair.key) as path:
            # An encrypted key is refused; without a password given, Python would ask the terminal.
            context.load_cert_chain(path, password="")
    except ssl.SSLError as error:
        raise CertificateError(
            "The certificate and the key cannot be used together"
            f" ({error.reason or 'no reason is given'})."
        ) from None
    except ValueError:
        raise CertificateError("The certificate is not in PEM form.") from None


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A path to read the content from: the ssl module takes nothing else. In memory where that is
    possible, so that keys reach no disk, and no disk need be writable."""
    if hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):
        descriptor = os.memfd_create("certificate")
        try:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(content)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
        return
    with tempfile.NamedTemporaryFile() as temporary:
        temporary.write(content)
        temporary.flush()
        yield temporary.name
