"""Settings come from the environment; what is wrong is said by name."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from fakes.clock import FakeClock
from taskrunner import settings
from taskrunner.cli.main import build
from taskrunner.errors import SpecError


def test_defaults_are_usable() -> None:
    loaded = settings.load({})
    assert loaded.retry_period < loaded.renew_deadline < loaded.lock_ttl


def test_variables_without_our_prefix_are_not_ours() -> None:
    assert settings.load({"LOCK_TTL": "x", "PATH": "/bin"}).lock_ttl == 15


def test_identities_of_two_processes_differ() -> None:
    assert settings.load({}).identity != settings.load({}).identity


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"SCHEDULER_LOCK_TTL": "soon"}, ["SCHEDULER_LOCK_TTL", "soon"]),
        ({"SCHEDULER_LOCK_TTL": "1"}, ["SCHEDULER_LOCK_TTL"]),
        ({"SCHEDULER_LOG_LEVEL": "loud"}, ["SCHEDULER_LOG_LEVEL", "loud"]),
        ({"SCHEDULER_LOKC_TTL": "15"}, ["SCHEDULER_LOKC_TTL"]),
        ({"SCHEDULER_RENEW_DEADLINE": "20"}, ["renew_deadline < lock_ttl"]),
    ],
)
def test_what_is_wrong_is_said_by_name(environment: dict[str, str], told: list[str]) -> None:
    with pytest.raises(SpecError) as error:
        settings.load(environment)
    for text in told:
        assert text in str(error.value)


def test_every_setting_is_described_and_shown() -> None:
    assert all(field.description for field in settings.Settings.model_fields.values())
    shown = CliRunner().invoke(build(FakeClock()), ["config", "-o", "json"], env={})
    names = {f"SCHEDULER_{name.upper()}" for name in settings.Settings.model_fields}
    assert set(json.loads(shown.output)) == names


def test_a_wrong_setting_ends_the_command_with_code_2() -> None:
    environment = {"SCHEDULER_LOCK_TTL": "soon"}
    result = CliRunner().invoke(build(FakeClock()), ["config"], env=environment)
    assert result.exit_code == 2
    assert "SCHEDULER_LOCK_TTL" in result.output
