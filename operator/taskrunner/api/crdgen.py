"""The wire models as CustomResourceDefinitions.

A CRD takes a *structural* schema, a subset of OpenAPI: no references, no unions, no unknown
keywords. https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from taskrunner.api.v1alpha1.backfill import Backfill
from taskrunner.api.v1alpha1.calendar import Calendar
from taskrunner.api.v1alpha1.common import (
    NOT_BUILT,
    REQUIRED_BY_RULE,
    STORED_DEFAULT,
    Rule,
    SpecModel,
)
from taskrunner.api.v1alpha1.names import (
    BACKFILL,
    CALENDAR,
    GROUP,
    SCHEDULED_TASK,
    SHARD,
    TASK_EXECUTION,
    TASK_QUEUE,
    VERSION,
    Resource,
)
from taskrunner.api.v1alpha1.scheduled_task import ScheduledTask
from taskrunner.api.v1alpha1.shard import Shard
from taskrunner.api.v1alpha1.task_execution import TaskExecution
from taskrunner.api.v1alpha1.task_queue import TaskQueue

Schema = dict[str, Any]

_INT32_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Column:
    """One column of `kubectl get`; `wide` ones show with `-o wide`."""

    name: str
    type: str
    path: str
    description: str
    wide: bool = False

    def to_wire(self) -> Schema:
        """As an entry of `additionalPrinterColumns`."""
        found: Schema = {
            "name": self.name,
            "type": self.type,
            "description": self.description,
            "jsonPath": self.path,
        }
        return found | ({"priority": 1} if self.wide else {})


_AGE: Final = Column("Age", "date", ".metadata.creationTimestamp", "Time since it was created.")


@dataclass(frozen=True, slots=True)
class Definition:
    """All that makes one CustomResourceDefinition."""

    resource: Resource
    model: type[SpecModel]
    columns: tuple[Column, ...]
    selectable: tuple[str, ...] = ()
    initial_status: Mapping[str, str] = field(default_factory=dict)
    """What the API server shows as the status while nothing was written to it: a column is not
    empty then, and saying so costs no write."""


DEFINITIONS: Final = (
    Definition(
        SCHEDULED_TASK,
        ScheduledTask,
        columns=(
            Column("Schedule", "string", ".status.scheduleSummary", "When it runs."),
            Column("Suspend", "boolean", ".spec.suspend", "Whether it starts no runs."),
            Column("Active", "integer", ".status.activeCount", "Executions active now."),
            Column("Last run", "date", ".status.lastScheduleTime", "Time since its last slot."),
            Column(
                "Last result", "string", ".status.lastExecution.phase", "How the last run is going."
            ),
            # Not a date: kubectl prints a date that is yet to come as <invalid>.
            Column("Next run", "string", ".status.nextRunTime", "When the next run is due."),
            _AGE,
            Column(
                "Ready",
                "string",
                ".status.conditions[?(@.type=='Ready')].status",
                "Whether the spec can be followed.",
                wide=True,
            ),
            Column(
                "Time zone", "string", ".spec.timeZone", "Time zone of the schedule.", wide=True
            ),
            Column(
                "Concurrency", "string", ".spec.concurrencyPolicy", "What overlap does.", wide=True
            ),
            Column(
                "Failures",
                "integer",
                ".status.consecutiveFailures",
                "Failures since the last success.",
                wide=True,
            ),
            Column(
                "Last success",
                "date",
                ".status.lastSuccessfulTime",
                "Time since the last success.",
                wide=True,
            ),
        ),
        selectable=(".spec.suspend",),
    ),
    Definition(
        TASK_EXECUTION,
        TaskExecution,
        columns=(
            Column("Task", "string", ".spec.taskRef.name", "The task that it is a run of."),
            Column("Type", "string", ".spec.type", "What asked for it."),
            Column("Phase", "string", ".status.phase", "Where it is."),
            Column("Reason", "string", ".status.reason", "Why it is there."),
            Column("Attempt", "integer", ".status.attempt", "Number of the attempt."),
            Column("Started", "date", ".status.startTime", "Time since its Job was created."),
            Column("Seconds", "integer", ".status.durationSeconds", "How long it took."),
            _AGE,
            Column("Slot", "string", ".spec.scheduledTime", "The slot that it is for.", wide=True),
            Column(
                "Lag ms",
                "integer",
                ".status.startLagMilliseconds",
                "From due to started, in milliseconds.",
                wide=True,
            ),
            Column("Worker", "string", ".status.worker", "The replica that ran it.", wide=True),
            Column("Message", "string", ".status.message", "What happened.", wide=True),
        ),
        selectable=(".spec.taskRef.name", ".spec.type", ".status.phase", ".status.reason"),
        initial_status={"phase": "Pending"},
    ),
    Definition(
        BACKFILL,
        Backfill,
        columns=(
            Column("Task", "string", ".spec.taskRef.name", "The task whose slots are run."),
            Column("Total", "integer", ".status.total", "Slots that are run in all."),
            Column("Done", "integer", ".status.done", "Runs that have ended."),
            Column("Running", "integer", ".status.running", "Runs that have started."),
            Column("Failed", "integer", ".status.failed", "Runs that failed."),
            Column("Percent", "integer", ".status.percent", "How much of it is done."),
            # Not a date: kubectl prints a date that is yet to come as <invalid>.
            Column("End", "string", ".status.estimatedCompletionTime", "When it will be done."),
            Column(
                "Complete",
                "string",
                ".status.conditions[?(@.type=='Complete')].status",
                "Whether every slot has ended.",
            ),
            _AGE,
            Column("From", "string", ".spec.from", "The first moment of the range.", wide=True),
            Column("To", "string", ".spec.to", "The end of the range.", wide=True),
            Column("Waiting", "integer", ".status.waiting", "Runs that wait.", wide=True),
            Column(
                "Message",
                "string",
                ".status.conditions[?(@.type=='Ready')].message",
                "What it is doing.",
                wide=True,
            ),
        ),
        selectable=(".spec.taskRef.name",),
    ),
    Definition(
        CALENDAR,
        Calendar,
        columns=(
            Column("Time zone", "string", ".spec.timeZone", "Time zone of its days."),
            Column(
                "Ready",
                "string",
                ".status.conditions[?(@.type=='Ready')].status",
                "Whether it can be followed.",
            ),
            _AGE,
        ),
    ),
    Definition(
        TASK_QUEUE,
        TaskQueue,
        columns=(
            Column("Running", "integer", ".status.running", "Runs that have a place."),
            Column("Max", "integer", ".spec.maxConcurrent", "Most runs active at once."),
            Column("Per minute", "integer", ".spec.startsPerMinute", "Most starts in a minute."),
            Column("Waiting", "integer", ".status.length", "Runs that wait."),
            Column("Longest", "date", ".status.oldestWaitTime", "How long the oldest waits."),
            _AGE,
            Column(
                "Ready",
                "string",
                ".status.conditions[?(@.type=='Ready')].status",
                "Whether the operator follows it.",
                wide=True,
            ),
            Column("Weight", "integer", ".spec.weight", "Its part of the namespace.", wide=True),
        ),
    ),
    Definition(
        SHARD,
        Shard,
        columns=(
            Column("Holder", "string", ".status.holder", "The replica that acts for it."),
            Column("Tasks", "integer", ".status.tasks", "ScheduledTasks in its namespaces."),
            Column("Agenda", "integer", ".status.agenda", "Instants that are waited for."),
            Column(
                "Lag ms",
                "integer",
                ".status.lagMilliseconds",
                "Longest start lag of the last minute, in milliseconds.",
            ),
            Column(
                "Fenced",
                "string",
                ".status.conditions[?(@.type=='Fenced')].status",
                "Whether writes of ended terms are refused.",
            ),
            Column("Since", "date", ".status.actingSince", "Time since its holder acts."),
            _AGE,
            Column("Epoch", "string", ".spec.epoch", "What the holder writes as.", wide=True),
            Column("Shards", "integer", ".spec.shards", "Of how many it is one.", wide=True),
        ),
    ),
)


def definition(of: Definition) -> Schema:
    """The CustomResourceDefinition, as JSON-ready data."""
    resource = of.resource
    version: Schema = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [column.to_wire() for column in of.columns],
    }
    if of.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in of.selectable]
    schema = structural_schema(of.model)
    if of.initial_status:
        schema["properties"]["status"]["default"] = dict(of.initial_status)
    version["schema"] = {"openAPIV3Schema": schema}
    names = {
        "kind": resource.kind,
        "listKind": f"{resource.kind}List",
        "plural": resource.plural,
        "singular": resource.singular,
        "shortNames": list(resource.short_names),
        "categories": list(resource.categories),
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": resource.crd_name},
        "spec": {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [version]},
    }


def structural_schema(model: type[SpecModel]) -> Schema:
    """The schema of a whole object, its metadata left to Kubernetes."""
    source = model.model_json_schema(by_alias=True, mode="validation")
    fields = source["properties"]
    found: Schema = {"description": source["description"], "type": "object", "required": ["spec"]}
    if "x-kubernetes-validations" in source:
        found["x-kubernetes-validations"] = source["x-kubernetes-validations"]
    defs = source["$defs"]
    found["properties"] = {
        "apiVersion": {"type": "string", "description": "Version of this schema."},
        "kind": {"type": "string", "description": "Kind of the object."},
        # Naming the field here is what lets a rule's error point to it.
        "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
        "spec": _Converter(defs, null_is_absent=True).convert(fields["spec"], "spec"),
        "status": _Converter(defs, null_is_absent=False).convert(fields["status"], "status"),
    }
    found["description"] = _one_line(found["description"])
    return found


_KEPT: Final = frozenset(
    {
        "type",
        "format",
        "enum",
        "pattern",
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "minProperties",
        "maxProperties",
        "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-validations",
    }
)
_DROPPED: Final = frozenset({"title", "examples", "default", NOT_BUILT, STORED_DEFAULT})
_OWN: Final = frozenset(
    {"description", "properties", "required", "items", "additionalProperties", REQUIRED_BY_RULE}
)


@dataclass(frozen=True, slots=True)
class _Converter:
    """JSON schema, as pydantic writes it, to structural schema."""

    defs: Mapping[str, Schema]
    null_is_absent: bool
    """Whether optional fields take null; true in specs, for manifests that leave values empty."""

    def convert(self, node: Schema, path: str) -> Schema:
        """The schema at a place; `path` is for messages, as users write it."""
        node = self._resolved(node)
        unknown = node.keys() - _KEPT - _DROPPED - _OWN
        if unknown:
            raise ValueError(f"{path}: no structural schema for {sorted(unknown)}")
        found: Schema = {}
        if "description" in node:
            found["description"] = _one_line(node["description"])
        found |= {key: value for key, value in node.items() if key in _KEPT}
        if node.get(STORED_DEFAULT):
            found["default"] = node["default"]
        if found.get("type") == "integer":
            found.setdefault(
                "format", "int32" if found.get("maximum", 2**63) <= _INT32_MAX else "int64"
            )
        if "items" in node:
            found["items"] = self.convert(node["items"], f"{path}[]")
        if isinstance(node.get("additionalProperties"), dict):
            found["additionalProperties"] = self.convert(node["additionalProperties"], path)
        if "properties" in node:
            found |= self._object(node, path)
        return found

    def _resolved(self, node: Schema) -> Schema:
        """With `$ref`, `anyOf: [T, null]` and `const` replaced; keywords beside them win."""
        found = dict(node)
        while True:
            if "$ref" in found:
                target = self.defs[found.pop("$ref").removeprefix("#/$defs/")]
            elif "anyOf" in found:
                options = [o for o in found.pop("anyOf") if o.get("type") != "null"]
                if len(options) != 1:
                    raise ValueError(f"a union has no structural schema: {options}")
                (target,) = options
            elif "const" in found:
                target = {"enum": [found.pop("const")]}
            else:
                return found
            found = {**target, **found}

    def _takes_null(self, schema: Schema) -> bool:
        """Where there is a default, the API server drops null itself; an enum would have to list
        null as one of its values."""
        return self.null_is_absent and "default" not in schema and "enum" not in schema

    def _object(self, node: Schema, path: str) -> Schema:
        required = set(node.get("required", ()))
        properties: Schema = {}
        rules = list(node.get("x-kubernetes-validations", ()))
        for name, source in node["properties"].items():
            resolved = self._resolved(source)
            schema = self.convert(source, f"{path}.{name}")
            if resolved.get(REQUIRED_BY_RULE):
                required.discard(name)
            if self._takes_null(schema) and name not in required:
                schema["nullable"] = True
            if NOT_BUILT in resolved:
                refusals = _not_built(name, f"{path}.{name}", resolved)
                rules += [rule.to_wire() for rule in refusals]
                schema["description"] += _not_built_note(resolved[NOT_BUILT])
            properties[name] = schema
        found: Schema = {"properties": properties}
        if required:
            found["required"] = [name for name in properties if name in required]
        if rules:
            found["x-kubernetes-validations"] = rules
        return found


def _not_built(name: str, path: str, field: Schema) -> list[Rule]:
    """The refusals of a field, or of each value that it names."""
    refused = field[NOT_BUILT]
    if not refused:
        message = f"{path} is not supported by this version of taskrunner; remove the field"
        return [Rule(f"!has(self.{name})", message, name, "FieldValueForbidden")]
    others = " or ".join(value for value in field["enum"] if value not in refused)
    return [
        Rule(
            f"!has(self.{name}) || self.{name} != '{value}'",
            f"{path} {value} is not supported by this version of taskrunner; write {others}",
            name,
            "FieldValueForbidden",
        )
        for value in refused
    ]


def _not_built_note(values: list[str]) -> str:
    subject = f"{', '.join(values)}: not" if values else "Not"
    return f" {subject} supported by this version of taskrunner."


def _one_line(text: str) -> str:
    return " ".join(text.split())
