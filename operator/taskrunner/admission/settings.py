"""Settings of the webhook: from `SCHEDULER_WEBHOOK_…`, checked at start."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from taskrunner.errors import Problem, SpecError

PREFIX: Final = "SCHEDULER_WEBHOOK_"

_DAY = 86_400


class WebhookSettings(BaseModel):
    """All that can be set about a webhook process. Durations are in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespace: str = Field(
        "taskrunner-system", min_length=1, description="Namespace of the Service and the Secret."
    )
    address: str = Field("0.0.0.0", description="Address to serve HTTPS on.")
    port: int = Field(9443, ge=0, le=65535, description="Port of HTTPS; 0 for any.")
    probe_address: str = Field("0.0.0.0", description="Address of /healthz, /readyz and /metrics.")
    probe_port: int = Field(8080, ge=0, le=65535, description="Port of these; 0 for any.")
    service_name: str = Field(
        "taskrunner-webhook",
        min_length=1,
        description="Service through which the API server calls; its name is in the certificate.",
    )
    hosts: tuple[str, ...] = Field(
        (),
        description="Further names and addresses for the certificate, separated by commas: for a"
        " configuration that calls a URL.",
    )
    cert_dir: str = Field(
        "",
        description="Directory with tls.crt and tls.key, as cert-manager makes them; read again"
        " when they change. Empty: the program makes its certificates itself.",
    )
    secret_name: str = Field(
        "taskrunner-webhook-tls",
        min_length=1,
        description="Secret through which replicas share the certificates that they make.",
    )
    configuration_name: str = Field(
        "taskrunner",
        description="ValidatingWebhookConfiguration whose caBundle is kept right; empty for none.",
    )
    mutating_configuration_name: str = Field(
        "",
        description="MutatingWebhookConfiguration whose caBundle is kept right; empty for none, as"
        " from Kubernetes 1.36 on, where a policy writes down who asked.",
    )
    cert_lifetime: float = Field(
        90 * _DAY,
        ge=10,
        le=3650 * _DAY,
        description="Validity of a certificate that the program makes. It is replaced after two"
        " thirds of it.",
    )
    cert_settle: float = Field(
        300,
        ge=0.5,
        le=_DAY,
        description="Time from telling the API server about a new authority to using its"
        " certificate.",
    )
    check_interval: float = Field(
        10, ge=0.1, le=3600, description="Time between two looks at the certificates."
    )
    call_timeout: float = Field(
        2,
        ge=0.1,
        le=20,
        description="Longest wait for an answer of the API server while a request waits.",
    )
    drain_period: float = Field(
        5,
        ge=0,
        le=300,
        description="Time to go on serving after SIGTERM, until no Service sends requests here.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severity that is logged."
    )
    log_format: Literal["text", "json"] = Field("text", description="One line of text, or of JSON.")

    @model_validator(mode="after")
    def _renewal_fits(self) -> Self:
        if self.cert_settle + 2 * self.check_interval >= self.cert_lifetime / 3:
            raise ValueError(
                "cert_settle + 2 × check_interval must be less than a third of cert_lifetime, or"
                " the old certificate could expire before the new one is in use"
            )
        return self

    @property
    def server_names(self) -> tuple[str, ...]:
        """What the certificate must be valid for."""
        service = f"{self.service_name}.{self.namespace}"
        return (f"{service}.svc", f"{service}.svc.cluster.local", *self.hosts)


def load(environment: Mapping[str, str]) -> WebhookSettings:
    """Settings from `SCHEDULER_WEBHOOK_…`. Raises SpecError that names each wrong variable."""
    given: dict[str, object] = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(PREFIX)
    }
    if isinstance(hosts := given.get("hosts"), str):
        given["hosts"] = tuple(host.strip() for host in hosts.split(",") if host.strip())
    try:
        return WebhookSettings.model_validate(given)
    except ValidationError as error:
        raise SpecError(*(_problem(detail["loc"], detail) for detail in error.errors())) from error


def _problem(location: tuple[int | str, ...], detail: Mapping[str, object]) -> Problem:
    name = str(location[0]) if location else ""
    variable = _variable(name or "*")
    field = WebhookSettings.model_fields.get(name)
    if field is None and location:
        close = get_close_matches(name, WebhookSettings.model_fields, n=1)
        known = close or list(WebhookSettings.model_fields)
        remedy = f"{'Did you mean' if close else 'Known are'} {', '.join(map(_variable, known))}"
        return Problem(variable, "", "There is no such setting.", remedy + ("?" if close else "."))
    remedy = field.description or "" if field else "Change one of the three."
    value = str(detail["input"])[:80] if location else ""
    message = str(detail["msg"]).removeprefix("Value error, ")
    return Problem(variable, value, f"{message}.", remedy)


def _variable(name: str) -> str:
    return PREFIX + name.upper()
