"""Settings of the webhook from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskrunner.admission.settings import PREFIX, WebhookSettings, load
from taskrunner.errors import SpecError


def test_without_variables_the_defaults_hold() -> None:
    settings = load({"PATH": "/bin", "SCHEDULER_LOCK_TTL": "15"})
    assert settings == WebhookSettings()
    assert settings.server_names == (
        "taskrunner-webhook.taskrunner-system.svc",
        "taskrunner-webhook.taskrunner-system.svc.cluster.local",
    )


def test_variables_are_read() -> None:
    settings = load(
        {
            "SCHEDULER_WEBHOOK_PORT": "8443",
            "SCHEDULER_WEBHOOK_NAMESPACE": "ops",
            "SCHEDULER_WEBHOOK_SERVICE_NAME": "hook",
            "SCHEDULER_WEBHOOK_HOSTS": " 127.0.0.1, hook.example ,",
            "SCHEDULER_WEBHOOK_CERT_LIFETIME": "86400",
        }
    )
    assert (settings.port, settings.cert_lifetime) == (8443, 86_400)
    assert settings.server_names == (
        "hook.ops.svc",
        "hook.ops.svc.cluster.local",
        "127.0.0.1",
        "hook.example",
    )


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("PORT", "https", 'SCHEDULER_WEBHOOK_PORT "https": Input should be a valid integer'),
        ("PORT", "70000", 'SCHEDULER_WEBHOOK_PORT "70000": Input should be less than or equal'),
        ("PROT", "1", "SCHEDULER_WEBHOOK_PROT: There is no such setting. Did you mean SCHEDULER_"),
        ("XYZZY", "1", "SCHEDULER_WEBHOOK_XYZZY: There is no such setting. Known are SCHEDULER_"),
        ("LOG_LEVEL", "loud", "SCHEDULER_WEBHOOK_LOG_LEVEL \"loud\": Input should be 'debug'"),
        ("CERT_LIFETIME", "600", "cert_settle + 2 × check_interval must be less than a third of"),
    ],
)
def test_what_cannot_be_is_told_by_name(name: str, value: str, told: str) -> None:
    with pytest.raises(SpecError) as error:
        load({f"SCHEDULER_WEBHOOK_{name}": value})
    assert told in str(error.value)


def test_the_guide_lists_each_setting_as_it_is() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "how-to" / "admission.md").read_text()
    rows = [line for line in guide.splitlines() if line.startswith(f"| `{PREFIX}")]
    expected = []
    for name, field in WebhookSettings.model_fields.items():
        default = f"`{field.default}`" if field.default else "empty"
        expected.append(f"| `{PREFIX}{name.upper()}` | {default} | {field.description} |")
    assert rows == expected
