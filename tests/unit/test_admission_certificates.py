"""Certificates: made, shared by replicas, renewed without a gap, and mended."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.api import Call, Crash, FakeApi
from fakes.clock import FakeClock
from fakes.server import FakeServer
from taskrunner.admission.certificates import (
    MAX_AUTHORITIES,
    Held,
    Pair,
    Policy,
    expiry,
    issue,
    next_step,
)
from taskrunner.admission.keeper import (
    CONFIGURATIONS,
    MUTATING_CONFIGURATIONS,
    SECRETS,
    FileKeeper,
    SecretKeeper,
    data_of,
    held_in,
    keep,
)
from taskrunner.admission.settings import WebhookSettings
from taskrunner.admission.tls import CertificateError, ServingTls
from taskrunner.errors import NotFound, Refused, Transient

DAY = 86_400.0
NOW = 1_790_000_000.0
NAMES = ("hook.system.svc", "127.0.0.1")
POLICY = Policy(NAMES, lifetime=90 * DAY, settle=300)


def made(now: float = NOW, policy: Policy = POLICY) -> Held:
    held = next_step(Held(), policy, now=now, trusted=None)
    assert held is not None
    assert held.current is not None
    return held


def trusts(bundle: bytes, pair: Pair | None) -> bool:
    """Whether a client that trusts this bundle would accept the certificate, times aside."""
    assert pair is not None
    certificate = x509.load_pem_x509_certificate(pair.certificate)
    for authority in x509.load_pem_x509_certificates(bundle):
        if authority.subject == certificate.issuer:
            certificate.verify_directly_issued_by(authority)
            return True
    return False


# --- what they are ------------------------------------------------------------------------------


def test_a_certificate_is_for_its_names_and_for_servers_only() -> None:
    _, pair = issue(NAMES, now=NOW, lifetime=DAY)
    certificate = x509.load_pem_x509_certificate(pair.certificate)
    extensions = certificate.extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["hook.system.svc"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    usage = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert certificate.not_valid_after_utc.timestamp() == NOW + DAY
    assert certificate.not_valid_before_utc.timestamp() == NOW - 3600


def test_authorities_can_be_told_apart() -> None:
    one, _ = issue(NAMES, now=NOW, lifetime=DAY)
    other, _ = issue(NAMES, now=NOW, lifetime=DAY)
    assert one.subject != other.subject


def test_a_key_is_in_no_repr() -> None:
    held = made()
    assert held.current is not None
    assert "PRIVATE" not in repr(held) + repr(held.current)


# --- when which one is used ---------------------------------------------------------------------


def test_the_first_certificate_is_used_at_once() -> None:
    held = made()
    assert held.next is None
    assert trusts(held.bundle, held.current)


@pytest.mark.parametrize("days", [0, 1, 59.9])
def test_nothing_happens_for_two_thirds_of_its_life(days: float) -> None:
    assert next_step(made(), POLICY, now=NOW + days * DAY, trusted=1e9) is None


def test_a_renewal_goes_in_two_steps() -> None:
    first = made()
    at = NOW + 60 * DAY
    second = next_step(first, POLICY, now=at, trusted=1e9)
    assert second is not None
    assert second.current == first.current, "the old one goes on"
    assert trusts(second.bundle, first.current)
    assert trusts(second.bundle, second.next)
    for trusted in (None, 0.0, 299.9):
        assert next_step(second, POLICY, now=at + 1, trusted=trusted) is None
    third = next_step(second, POLICY, now=at + 300, trusted=300.0)
    assert third is not None
    assert third == Held(second.bundle, second.next), "the old authority stays in the bundle"
    fourth = next_step(third, POLICY, now=NOW + 90 * DAY, trusted=1e9)
    assert fourth is not None
    assert fourth.current == third.current
    assert trusts(fourth.bundle, third.current)
    assert not trusts(fourth.bundle, first.current), "it has expired"


def _another_key(held: Held) -> Held:
    assert held.current is not None
    _, other = issue(NAMES, now=NOW, lifetime=DAY)
    return replace(held, current=Pair(held.current.certificate, other.key))


def _cut_off(held: Held) -> Held:
    assert held.current is not None
    return replace(held, current=Pair(held.current.certificate[:200], held.current.key))


BROKEN: dict[str, Callable[[Held], Held]] = {
    "nothing is there": lambda _: Held(),
    "the certificate is cut off": _cut_off,
    "the key is of another one": _another_key,
    "the bundle is gone": lambda held: replace(held, bundle=b""),
    "the bundle is no certificate": lambda held: replace(held, bundle=b"-----BEGIN nonsense"),
    "the bundle is of another one": lambda held: replace(held, bundle=made().bundle),
    "it is for other names": lambda _: made(policy=replace(POLICY, names=("other.system.svc",))),
    "it has expired": lambda _: made(now=NOW - 91 * DAY),
    "it is of the future": lambda _: made(now=NOW + 10 * DAY),
}


@pytest.mark.parametrize("title", BROKEN)
def test_what_cannot_be_used_is_replaced_at_once(title: str) -> None:
    broken = BROKEN[title](made())
    mended = next_step(broken, POLICY, now=NOW, trusted=None)
    assert mended is not None
    assert mended.current != broken.current
    assert trusts(mended.bundle, mended.current)
    assert next_step(mended, POLICY, now=NOW, trusted=None) is None


def test_a_next_one_that_cannot_be_used_is_made_anew() -> None:
    at = NOW + 60 * DAY
    second = next_step(made(), POLICY, now=at, trusted=None)
    assert second is not None
    assert second.next is not None
    spoilt = replace(second, next=Pair(second.next.certificate, b"no key"))
    third = next_step(spoilt, POLICY, now=at, trusted=1e9)
    assert third is not None
    assert (third.current, third.next) == (second.current, None)
    fourth = next_step(third, POLICY, now=at, trusted=1e9)
    assert fourth is not None
    assert trusts(fourth.bundle, fourth.next)


def test_replicas_that_disagree_on_names_do_not_fill_the_bundle() -> None:
    held = made()
    for number in range(3 * MAX_AUTHORITIES):
        policy = replace(POLICY, names=(f"host-{number % 2}",))
        step = next_step(held, policy, now=NOW, trusted=None)
        assert step is not None
        held = step
        assert trusts(held.bundle, held.current)
    assert len(x509.load_pem_x509_certificates(held.bundle)) == MAX_AUTHORITIES


def test_a_shorter_list_of_names_is_content_with_a_longer_one() -> None:
    assert next_step(made(), replace(POLICY, names=NAMES[:1]), now=NOW, trusted=None) is None


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 12 * DAY), min_size=1, max_size=40))
def test_looking_often_enough_never_leaves_a_gap(pauses: list[float]) -> None:
    """A look at least every twelve days: what is served was trusted before it was served, and is
    valid all the time."""
    now, trusted_since, held = NOW, NOW, made()
    trusted = held.bundle
    for pause in pauses:
        now += pause
        if step := next_step(held, POLICY, now=now, trusted=now - trusted_since):
            if step.current != held.current:
                assert trusts(trusted, step.current), "served before it was trusted"
            held = step
        if held.bundle != trusted:
            trusted, trusted_since = held.bundle, now
        assert held.current is not None
        assert expiry(held.current.certificate) > now
        assert trusts(trusted, held.current)


# --- replicas and their Secret ------------------------------------------------------------------

SETTINGS = WebhookSettings(
    namespace="system", service_name="hook", hosts=("127.0.0.1",), configuration_name="conf"
)


class Replica:
    """One replica, and what it serves."""

    def __init__(self, clock: FakeClock, server: FakeServer) -> None:
        self.api = FakeApi(clock, server)
        self.tls = ServingTls()
        self.keeper = SecretKeeper(self.api, clock, SETTINGS, self.tls)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(now=NOW)


@pytest.fixture
async def server(clock: FakeClock) -> FakeServer:
    server = FakeServer(clock)
    hooks = [{"name": "a", "clientConfig": {}}, {"name": "b", "clientConfig": {}}]
    server.create(CONFIGURATIONS, "", {"metadata": {"name": "conf"}, "webhooks": hooks})
    return server


@pytest.fixture
def replica(clock: FakeClock, server: FakeServer) -> Replica:
    return Replica(clock, server)


def held_by(server: FakeServer) -> Held:
    return held_in(server.get(SECRETS, "system", SETTINGS.secret_name))


def bundles(server: FakeServer) -> list[bytes]:
    found = server.get(CONFIGURATIONS, "", "conf")
    return [
        base64.b64decode(hook["clientConfig"].get("caBundle", "")) for hook in found["webhooks"]
    ]


async def test_the_first_replica_makes_the_secret_and_tells_the_api_server(
    replica: Replica, server: FakeServer
) -> None:
    assert replica.keeper.problem() == (
        "There is no certificate in the Secret taskrunner-webhook-tls yet."
    )
    await replica.keeper.step()
    held = held_by(server)
    assert replica.keeper.problem() == ""
    assert trusts(held.bundle, held.current)
    assert bundles(server) == [held.bundle, held.bundle]
    assert replica.tls.expires == NOW + 90 * DAY


async def test_both_configurations_are_told_whom_to_trust(
    clock: FakeClock, server: FakeServer
) -> None:
    settings = SETTINGS.model_copy(update={"mutating_configuration_name": "stamp"})
    keeper = SecretKeeper(FakeApi(clock, server), clock, settings, ServingTls())
    with pytest.raises(NotFound):
        await keeper.step()
    assert keeper.problem() == (
        "The caBundle of the ValidatingWebhookConfiguration conf and MutatingWebhookConfiguration"
        " stamp is not written yet."
    )
    hooks = [{"name": "a", "clientConfig": {}}]
    server.create(MUTATING_CONFIGURATIONS, "", {"metadata": {"name": "stamp"}, "webhooks": hooks})
    await keeper.step()
    assert keeper.problem() == ""
    found = server.get(MUTATING_CONFIGURATIONS, "", "stamp")["webhooks"][0]["clientConfig"]
    assert base64.b64decode(found["caBundle"]) == held_by(server).bundle


async def test_the_next_replicas_and_looks_write_nothing(
    clock: FakeClock, server: FakeServer, replica: Replica
) -> None:
    await replica.keeper.step()
    other = Replica(clock, server)
    for one in (other, replica, other):
        await one.keeper.step()
    assert other.api.writes == []
    assert len(replica.api.writes) == 2


async def test_an_empty_secret_is_filled_and_keeps_what_else_is_in_it(
    replica: Replica, server: FakeServer
) -> None:
    meta = {"name": SETTINGS.secret_name, "labels": {"of": "the chart"}}
    server.create(SECRETS, "system", {"metadata": meta, "data": {"other": "eA=="}})
    await replica.keeper.step()
    secret = server.get(SECRETS, "system", SETTINGS.secret_name)
    assert secret["metadata"]["labels"] == {"of": "the chart"}
    assert set(secret["data"]) == {"other", "ca.crt", "tls.crt", "tls.key"}
    assert [call.verb for call in replica.api.writes] == ["replace", "replace"]


async def test_of_two_replicas_that_start_together_one_makes_the_certificate(
    clock: FakeClock, server: FakeServer
) -> None:
    one, other = Replica(clock, server), Replica(clock, server)
    first_create = True

    def meanwhile(call: Call) -> None:
        nonlocal first_create
        if call.verb == "create" and first_create:
            first_create = False
            data = data_of(made())
            server.create(SECRETS, "system", {"metadata": {"name": call.name}, "data": data})

    one.api.before.append(meanwhile)
    await one.keeper.step()
    await other.keeper.step()
    assert one.tls.expires == other.tls.expires
    held = held_by(server)
    assert bundles(server)[0] == held.bundle
    assert not one.tls.load(held.current), "both serve what is in the Secret"  # type: ignore[arg-type]
    assert not other.tls.load(held.current)  # type: ignore[arg-type]


async def test_a_renewal_by_two_replicas_that_take_turns(
    clock: FakeClock, server: FakeServer
) -> None:
    replicas = [Replica(clock, server), Replica(clock, server)]
    for one in replicas:
        await one.keeper.step()
    first = held_by(server)
    clock.suspend(60 * DAY)
    await replicas[1].keeper.step()
    second = held_by(server)
    assert second.current == first.current
    assert bundles(server)[0] == second.bundle
    for _ in range(3):
        clock.suspend(100)
        for one in replicas:
            await one.keeper.step()
    third = held_by(server)
    assert third.current == second.next
    assert bundles(server) == [third.bundle, third.bundle]
    assert trusts(third.bundle, first.current)


async def test_a_ca_bundle_that_is_emptied_is_written_again(
    replica: Replica, server: FakeServer
) -> None:
    await replica.keeper.step()
    configuration = server.get(CONFIGURATIONS, "", "conf")
    configuration["webhooks"][1]["clientConfig"] = {}
    server.replace(CONFIGURATIONS, "", "conf", configuration)
    await replica.keeper.step()
    assert bundles(server) == [held_by(server).bundle] * 2


async def test_the_time_to_settle_begins_when_the_api_server_is_told_again(
    clock: FakeClock, replica: Replica, server: FakeServer
) -> None:
    await replica.keeper.step()
    clock.suspend(60 * DAY)
    await replica.keeper.step()
    clock.suspend(299)
    configuration = server.get(CONFIGURATIONS, "", "conf")
    configuration["webhooks"][0]["clientConfig"] = {}
    server.replace(CONFIGURATIONS, "", "conf", configuration)
    await replica.keeper.step()
    clock.suspend(299)
    await replica.keeper.step()
    assert held_by(server).next is not None
    clock.suspend(1)
    await replica.keeper.step()
    assert held_by(server).next is None


@pytest.mark.parametrize("at_write", [1, 2])
@pytest.mark.parametrize("after", [False, True])
async def test_a_crash_at_any_write_is_put_right_by_the_next_replica(
    clock: FakeClock, server: FakeServer, at_write: int, *, after: bool
) -> None:
    dying = Replica(clock, server)
    dying.api.crash(at_write=at_write, after=after)
    with pytest.raises(Crash):
        await dying.keeper.step()
    other = Replica(clock, server)
    await other.keeper.step()
    assert other.keeper.problem() == ""
    held = held_by(server)
    assert trusts(held.bundle, held.current)
    assert bundles(server) == [held.bundle] * 2


async def test_a_secret_that_may_not_be_created_says_what_to_do(replica: Replica) -> None:
    replica.api.fail("create", SECRETS, error=Refused("create secrets: 403: no", code=403))
    with pytest.raises(Refused, match="Create the Secret system/taskrunner-webhook-tls without"):
        await replica.keeper.step()


async def test_without_a_configuration_it_is_not_ready_and_says_so(
    replica: Replica, server: FakeServer
) -> None:
    found = server.get(CONFIGURATIONS, "", "conf")
    server.delete(CONFIGURATIONS, "", "conf", uid=found["metadata"]["uid"])
    with pytest.raises(NotFound):
        await replica.keeper.step()
    assert replica.keeper.problem() == (
        "The caBundle of the ValidatingWebhookConfiguration conf is not written yet."
    )


async def test_trouble_is_logged_once_and_what_is_served_stays(
    clock: FakeClock, replica: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    looks: list[float | None] = []
    caplog.set_level("INFO")
    running = asyncio.create_task(
        keep(replica.keeper, clock, 10, lambda: looks.append(replica.tls.expires))
    )
    await clock.advance(5)
    replica.api.fail("get", error=Transient("get secrets: no answer in time."), times=3)
    await clock.advance(50)
    running.cancel()
    assert looks == [NOW + 90 * DAY] * 6
    said = [record.getMessage() for record in caplog.records if "no answer" in record.getMessage()]
    assert said == ["certificates: get secrets: no answer in time.; trying again every 10 s"]
    assert "certificates: in order again" in caplog.messages
    assert "PRIVATE" not in caplog.text


# --- files --------------------------------------------------------------------------------------


def write(directory: Path, pair: Pair) -> None:
    (directory / "tls.crt").write_bytes(pair.certificate)
    (directory / "tls.key").write_bytes(pair.key)


async def test_files_are_served_and_read_again_when_they_change(tmp_path: Path) -> None:
    tls = ServingTls()
    keeper = FileKeeper(tmp_path, tls)
    with pytest.raises(CertificateError, match=r"tls\.crt cannot be read \(No such file"):
        await keeper.step()
    assert keeper.problem() == f"There is no usable certificate in {tmp_path}."
    for lifetime in (DAY, 2 * DAY):
        write(tmp_path, issue(NAMES, now=NOW, lifetime=lifetime)[1])
        await keeper.step()
        assert keeper.problem() == ""
        assert tls.expires == NOW + lifetime


@pytest.mark.parametrize(
    ("certificate", "key", "why"),
    [
        (None, b"", "cannot be used together"),
        (None, b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n", "cannot be"),
        (b"", None, "not in PEM form"),
        (None, "other", "KEY_VALUES_MISMATCH"),
    ],
)
async def test_files_that_do_not_fit_leave_the_old_one_in_use(
    tmp_path: Path, certificate: bytes | None, key: bytes | str | None, why: str
) -> None:
    tls = ServingTls()
    _, good = issue(NAMES, now=NOW, lifetime=DAY)
    tls.load(good)
    _, new = issue(NAMES, now=NOW, lifetime=2 * DAY)
    other = issue(NAMES, now=NOW, lifetime=DAY)[1].key
    given = other if key == "other" else key
    assert not isinstance(given, str)
    write(
        tmp_path,
        Pair(
            new.certificate if certificate is None else certificate,
            new.key if given is None else given,
        ),
    )
    with pytest.raises(CertificateError, match=why) as error:
        await FileKeeper(tmp_path, tls).step()
    assert "c2VjcmV0" not in str(error.value)
    assert tls.expires == NOW + DAY
    assert handshake(tls) == good.certificate


def handshake(tls: ServingTls) -> bytes:
    """The certificate that a client gets, in memory."""
    client_in, server_in = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    client = context.wrap_bio(client_in, server_in)
    server = tls.context.wrap_bio(server_in, client_in, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    found = client.getpeercert(binary_form=True)
    assert found
    return ssl.DER_cert_to_PEM_cert(found).encode()
