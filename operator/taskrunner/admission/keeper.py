"""Keeps the served certificate right: from a shared Secret, or from files."""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from taskrunner.admission.certificates import Held, Pair, Policy, next_step
from taskrunner.admission.settings import WebhookSettings
from taskrunner.admission.tls import CertificateError, ServingTls
from taskrunner.api.v1alpha1.names import LABEL_MANAGED_BY, MANAGER
from taskrunner.errors import AlreadyExists, ApiError, Conflict, NotFound, Refused
from taskrunner.ports import Clock, Obj, Resource

log = logging.getLogger(__name__)

SECRETS: Final = Resource("", "v1", "secrets", "Secret")
CONFIGURATIONS: Final = Resource(
    "admissionregistration.k8s.io",
    "v1",
    "validatingwebhookconfigurations",
    "ValidatingWebhookConfiguration",
)

MUTATING_CONFIGURATIONS: Final = Resource(
    "admissionregistration.k8s.io",
    "v1",
    "mutatingwebhookconfigurations",
    "MutatingWebhookConfiguration",
)

_TRIES: Final = 5
_BUNDLE, _CURRENT, _NEXT = "ca.crt", ("tls.crt", "tls.key"), ("next.crt", "next.key")


class Api(Protocol):
    """The part of `ports.Api` that shared certificates take."""

    async def get(self, resource: Resource, namespace: str, name: str) -> Obj:
        """The live object. Raises NotFound."""
        ...

    async def create(self, resource: Resource, namespace: str, body: Mapping[str, Any]) -> Obj:
        """POST. Raises AlreadyExists."""
        ...

    async def replace(
        self, resource: Resource, namespace: str, name: str, body: Mapping[str, Any]
    ) -> Obj:
        """PUT. Raises Conflict, NotFound."""
        ...


class Keeper(Protocol):
    """Where certificates come from."""

    async def step(self) -> None:
        """Look once, and put right what is not. Raises ApiError and CertificateError."""
        ...

    def problem(self) -> str:
        """Why requests cannot be served yet, as a sentence; empty when they can."""
        ...


async def keep(keeper: Keeper, clock: Clock, interval: float, note: Callable[[], None]) -> None:
    """Look again and again; what is wrong is logged once, and `note` is called after each look."""
    complaint = ""
    while True:
        try:
            await keeper.step()
        except (ApiError, CertificateError) as error:
            # The certificate in use stays in use; there is a third of its life to get over this.
            if str(error) != complaint:
                complaint = str(error)
                log.warning("certificates: %s; trying again every %g s", error, interval)
        else:
            if complaint:
                log.info("certificates: in order again")
            complaint = ""
        note()
        await clock.sleep(interval)


class FileKeeper:
    """Certificates that somebody else makes, such as cert-manager; `caBundle` is theirs, too."""

    def __init__(self, directory: Path, tls: ServingTls) -> None:
        self._directory = directory
        self._tls = tls

    async def step(self) -> None:
        """Read the files, which are small and local, and serve what is new."""
        certificate, key = (self._read(name) for name in _CURRENT)
        if self._tls.load(Pair(certificate, key)):
            log.info("certificates: serving the one in %s", self._directory)

    def problem(self) -> str:
        """Whether there is a certificate."""
        return "" if self._tls.expires else f"There is no usable certificate in {self._directory}."

    def _read(self, name: str) -> bytes:
        try:
            return (self._directory / name).read_bytes()
        except OSError as error:
            raise CertificateError(
                f"{self._directory / name} cannot be read ({error.strerror})."
            ) from None


class SecretKeeper:
    """Certificates of our own, shared by the replicas through one Secret.

    Any replica takes any step; the Secret's resourceVersion decides who was first, and the others
    read again. A crash between the Secret and the caBundle is put right by the next look of
    whichever replica.
    """

    def __init__(self, api: Api, clock: Clock, settings: WebhookSettings, tls: ServingTls) -> None:
        self._api = api
        self._clock = clock
        self._namespace = settings.namespace
        self._secret = settings.secret_name
        self._configurations = tuple(
            (resource, name)
            for resource, name in (
                (CONFIGURATIONS, settings.configuration_name),
                (MUTATING_CONFIGURATIONS, settings.mutating_configuration_name),
            )
            if name
        )
        self._policy = Policy(settings.server_names, settings.cert_lifetime, settings.cert_settle)
        self._tls = tls
        self._trusted: tuple[bytes, float] | None = None
        """The bundle that the API server was seen to trust, and since when (boot clock)."""
        self._announced = False

    async def step(self) -> None:
        """Bring the Secret up to date, serve its certificate, and have its authorities trusted."""
        held = await self._up_to_date()
        assert held.current is not None
        if self._tls.load(held.current):
            log.info("certificates: serving the one in Secret %s", self._secret)
        await self._announce(held.bundle)

    def problem(self) -> str:
        """Whether there is a certificate, and the API server has been told whom to trust."""
        if self._tls.expires is None:
            return f"There is no certificate in the Secret {self._secret} yet."
        if not self._announced:
            names = " and ".join(f"{kind.kind} {name}" for kind, name in self._configurations)
            return f"The caBundle of the {names} is not written yet."
        return ""

    async def _up_to_date(self) -> Held:
        for _ in range(_TRIES):
            secret = await self._read()
            held = held_in(secret or {})
            wanted = next_step(
                held,
                self._policy,
                now=self._clock.now(),
                trusted=self._trusted_for(held.bundle),
            )
            if wanted is None:
                return held
            try:
                await self._write(secret, wanted)
            except (AlreadyExists, Conflict, NotFound):
                continue  # Another replica was faster; see what it wrote.
            log.info("certificates: %s", _said(held, wanted))
            return wanted
        raise Conflict(f"The Secret {self._secret} changes all the time.")

    async def _read(self) -> Obj | None:
        try:
            return await self._api.get(SECRETS, self._namespace, self._secret)
        except NotFound:
            return None

    async def _write(self, secret: Obj | None, held: Held) -> None:
        data = data_of(held)
        if secret is None:
            meta = {
                "name": self._secret,
                "namespace": self._namespace,
                "labels": {LABEL_MANAGED_BY: MANAGER},
            }
            body = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": data}
            try:
                await self._api.create(SECRETS, self._namespace, body)
            except Refused as error:
                raise Refused(
                    f"{error} Create the Secret {self._namespace}/{self._secret} without data, and"
                    " it is filled.",
                    code=error.code,
                    reason=error.reason,
                ) from None
        else:
            # All else that is in it stays: labels of the chart, keys of other programs.
            others = {k: v for k, v in (secret.get("data") or {}).items() if k not in _KEYS}
            body = {**secret, "data": others | data}
            await self._api.replace(SECRETS, self._namespace, self._secret, body)

    def _trusted_for(self, bundle: bytes) -> float | None:
        if self._trusted is None or self._trusted[0] != bundle:
            return None
        return self._clock.boot() - self._trusted[1]

    async def _announce(self, bundle: bytes) -> None:
        """Make the configurations trust the bundle; also when a Helm upgrade has emptied them."""
        changed = False
        for resource, name in self._configurations:
            try:
                changed |= await self._write_bundle(resource, name, bundle)
            except Conflict:
                return  # Written meanwhile, by another replica as a rule; the next look tells.
        self._announced = True
        if changed or self._trusted is None or self._trusted[0] != bundle:
            self._trusted = (bundle, self._clock.boot())

    async def _write_bundle(self, resource: Resource, name: str, bundle: bytes) -> bool:
        """Whether it had to be written."""
        found = await self._api.get(resource, "", name)
        text = base64.b64encode(bundle).decode()
        clients = [hook.setdefault("clientConfig", {}) for hook in found.get("webhooks") or ()]
        if all(client.get("caBundle") == text for client in clients):
            return False
        for client in clients:
            client["caBundle"] = text
        await self._api.replace(resource, "", name, found)
        log.info("certificates: caBundle of %s %s is written", resource.kind, name)
        return True


# --- the Secret's data --------------------------------------------------------------------------

_KEYS: Final = frozenset({_BUNDLE, *_CURRENT, *_NEXT})


def held_in(secret: Mapping[str, Any]) -> Held:
    """What a Secret holds; what cannot be read counts as not there."""
    data = secret.get("data") or {}

    def value(key: str) -> bytes:
        try:
            return base64.b64decode(str(data.get(key) or ""), validate=True)
        except (binascii.Error, ValueError):
            return b""

    def pair(keys: tuple[str, str]) -> Pair | None:
        certificate, key = value(keys[0]), value(keys[1])
        return Pair(certificate, key) if certificate or key else None

    return Held(value(_BUNDLE), pair(_CURRENT), pair(_NEXT))


def data_of(held: Held) -> dict[str, str]:
    """`held` as the data of a Secret."""
    found = {_BUNDLE: held.bundle}
    for keys, pair in ((_CURRENT, held.current), (_NEXT, held.next)):
        if pair is not None:
            found |= {keys[0]: pair.certificate, keys[1]: pair.key}
    return {key: base64.b64encode(value).decode() for key, value in found.items()}


def _said(before: Held, after: Held) -> str:
    if after.next is not None:
        return "made the next one; it is used when the API server trusts its authority"
    if before.next is not None and after.current == before.next:
        return "the next one is in use from now on"
    if after.current != before.current:
        return "made a new one"
    return "took out what has expired or cannot be used"
