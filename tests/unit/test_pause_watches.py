"""What the operator does where it may not see what is paused."""

from __future__ import annotations

import logging

import pytest

from fakes.api import FakeApi
from fakes.clock import FakeClock
from taskrunner.app.pauses import PauseWatches
from taskrunner.engine.store import Store
from taskrunner.errors import ApiError, Refused, Transient
from taskrunner.ports import CONFIG_MAPS, NAMESPACES
from taskrunner.settings import Settings


def watches(api: FakeApi, store: Store, **settings: str) -> PauseWatches:
    return PauseWatches(Settings(identity="me", **settings), api, api.clock, store)


@pytest.fixture
def api() -> FakeApi:
    api = FakeApi(FakeClock())
    for name in ("qa", "ops"):
        meta = {"name": name, "labels": {"taskrunner.dev/paused": "true"}}
        api.server.create(NAMESPACES, "", {"metadata": meta})
    config = {"metadata": {"name": "taskrunner-config"}, "data": {"paused": "true"}}
    api.server.create(CONFIG_MAPS, "taskrunner-system", config)
    return api


async def test_all_that_is_paused_is_known_after_one_refresh(api: FakeApi) -> None:
    store = Store()
    await watches(api, store).refresh()
    assert store.pauses.namespaces == {"qa", "ops"}
    assert store.pauses.operator == "taskrunner-system/taskrunner-config"


async def test_an_operator_of_one_namespace_looks_at_that_one_only(api: FakeApi) -> None:
    store = Store()
    await watches(api, store, watch_namespace="qa").refresh()
    assert store.pauses.namespaces == {"qa"}


async def test_another_config_map_pauses_nothing(api: FakeApi) -> None:
    store = Store()
    await watches(api, store, config_map="other").refresh()
    assert store.pauses.operator == ""


async def test_a_refusal_is_said_once_and_the_other_switch_works(
    api: FakeApi, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store()
    refused = Refused('namespaces is forbidden: User "x" cannot list', code=403)
    api.fail("list", NAMESPACES, error=refused, times=9)
    both = watches(api, store)
    with caplog.at_level(logging.WARNING):
        await both.refresh()
        await both.refresh()
    assert store.pauses.namespaces == set()
    assert store.pauses.operator
    (said,) = [r.getMessage() for r in caplog.records if "cannot pause" in r.getMessage()]
    assert "label of namespaces" in said
    assert "cannot list" in said


async def test_nobody_acts_before_it_is_known_what_is_paused(api: FakeApi) -> None:
    api.fail("list", CONFIG_MAPS, error=Transient("busy"))
    with pytest.raises(ApiError, match="busy"):
        await watches(api, Store()).refresh()
