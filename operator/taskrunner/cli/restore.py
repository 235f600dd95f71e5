"""`taskrunner restore`: the objects of a backup, made anew so that nothing runs twice.

What is made of each is decided in `domain.restoring`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

import typer

from taskrunner.cli.backup import counted
from taskrunner.cli.cluster import (
    Kubeconfig,
    KubeContext,
    on_cluster,
    place_of,
    said_no,
)
from taskrunner.cli.shared import FAILED, Session, fail
from taskrunner.errors import AlreadyExists, ApiError, Refused, TaskrunnerError
from taskrunner.ports import LEASES, NAMESPACES, Api, Clock, Obj, Resource

LEASE_NAME: Final = "taskrunner-shard-"


def restore(
    context: typer.Context,
    file: Annotated[str, typer.Option("--file", "-f", help='A backup; "-" for standard input.')],
    create_namespaces: Annotated[
        bool, typer.Option("--create-namespaces", help="Make namespaces that are missing.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also while an operator acts. See below.")
    ] = False,
    kubeconfig: Kubeconfig = "",
    kube_context: KubeContext = "",
) -> None:
    """Create the objects of a backup, with their state, so that nothing runs twice.

      taskrunner restore -f backup.yaml --dry-run

      taskrunner restore -f backup.yaml --create-namespaces

    Do it after the CustomResourceDefinitions are there and before the operator is, or while it is
    scaled to 0: it would not take over the state of tasks that it knows already; with --force,
    counts may be lost then. What exists is left alone, and the command may be repeated.

    No slot before the restore starts. A run that had not ended is recorded as Failed, unless it was
    to start later than now. docs/how-to/backup-and-restore.md has all of it.
    """
    from taskrunner.cli.documents import objects
    from taskrunner.domain.restoring import left_out, order

    clock: Clock = context.obj.clock
    found = [obj for obj in objects(file) if _is_ours(obj)]
    if not found:
        fail(
            f"{file}: There are no objects of taskrunner in it. Name a file of `taskrunner backup`."
        )
    found.sort(key=order)
    for obj in found:
        if why := left_out(obj):
            typer.echo(f"{_called(obj)}: left out: {why}")
    wanted = [obj for obj in found if not left_out(obj)]

    async def work(session: Session) -> int:
        if not force:
            await _nobody_acts(session.api, clock.now())
        await _namespaces(session.api, wanted, create=create_namespaces, dry_run=dry_run)
        maker = _Maker(session.api, clock, dry_run=dry_run)
        for obj in wanted:
            await maker.make(obj)
        maker.tell()
        return FAILED if maker.failures else 0

    on_cluster(context, kubeconfig, kube_context, work)


def _is_ours(obj: Mapping[str, object]) -> bool:
    from taskrunner.api.v1alpha1.names import GROUP

    metadata = obj.get("metadata")
    named = isinstance(metadata, dict) and "name" in metadata
    ours = str(obj.get("apiVersion", "")).startswith(f"{GROUP}/")
    return named and (ours or obj.get("kind") == "Namespace")


def _called(obj: Obj) -> str:
    return f"{obj['kind']} {'/'.join(part for part in place_of(obj) if part)}"


async def _nobody_acts(api: Api, now: float) -> None:
    """Exit when a replica of an operator holds a Lease. Raises TaskrunnerError."""
    from taskrunner.cli.times import instant

    for lease in await api.list(LEASES):
        spec, (namespace, name) = lease["spec"], place_of(lease)
        renewed = instant(spec.get("renewTime"))
        if not name.startswith(LEASE_NAME) or not spec.get("holderIdentity") or renewed is None:
            continue
        if now < renewed + spec.get("leaseDurationSeconds", 15):
            raise TaskrunnerError(
                f"An operator acts here: {spec['holderIdentity']} holds the Lease {name} in"
                f" namespace {namespace}. Stop it first, wait half a minute, restore, and start it"
                f" again: kubectl scale deployment -n {namespace} -l"
                " app.kubernetes.io/name=taskrunner,app.kubernetes.io/component=operator"
                " --replicas=0"
            )


async def _namespaces(api: Api, wanted: list[Obj], *, create: bool, dry_run: bool) -> None:
    """Have them all; pause those that were paused. Exits when one is missing."""
    there = {obj["metadata"]["name"] for obj in await api.list(NAMESPACES)}
    needed = {place_of(obj)[0] or place_of(obj)[1] for obj in wanted}
    missing = sorted(needed - there)
    if missing and not create:
        fail(
            f"Namespaces are missing: {', '.join(missing)}. Create them, or let it be done with"
            " --create-namespaces."
        )
    for name in missing:
        if not dry_run:
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            await api.create(NAMESPACES, "", body)
        typer.echo(f"Namespace {name}: {'would be ' if dry_run else ''}created")


class _Maker:
    """Makes one object after the other, and counts.

    A crash in between leaves objects without a status, and whoever repeats the command writes it.
    """

    def __init__(self, api: Api, clock: Clock, *, dry_run: bool) -> None:
        self._api, self._clock, self._dry_run = api, clock, dry_run
        self._uids: dict[str, str] = {}
        self._refusals = 0
        self._made: list[Obj] = []
        self._unknown: list[str] = []
        self.failures = 0

    async def make(self, obj: Obj) -> None:
        """Create it and write its status, or tell why not."""
        try:
            if obj["kind"] == "Namespace":
                await self._pause(obj)
            elif not self._dry_run:
                await self._create(obj)
            else:
                self._note(obj)
        except ApiError as error:
            said_no(_called(obj), error)
            self.failures += 1
            self._refusals += isinstance(error, Refused) and "is for the operator" in str(error)

    async def _pause(self, obj: Obj) -> None:
        if not self._dry_run:
            patch = {"metadata": {"labels": obj["metadata"]["labels"]}}
            await self._api.patch(NAMESPACES, "", obj["metadata"]["name"], patch)
        typer.echo(f"{_called(obj)}: {'would be ' if self._dry_run else ''}paused, as it was")

    async def _create(self, obj: Obj) -> None:
        from taskrunner.domain.restoring import body_of, status_of

        resource, (namespace, name) = _resource(obj), place_of(obj)
        status = status_of(obj, self._clock.now())
        try:
            made = await self._api.create(resource, namespace, body_of(obj, self._uids))
        except AlreadyExists:
            made = await self._api.get(resource, namespace, name)
            if not _is_unfinished(made, obj) or made.get("status", {}) == status:
                typer.echo(f"{_called(obj)}: exists already, left alone")
                self._uids[obj["metadata"].get("uid", "")] = made["metadata"]["uid"]
                return
        self._uids[obj["metadata"].get("uid", "")] = made["metadata"]["uid"]
        if status:
            patch = {
                "metadata": {"resourceVersion": made["metadata"]["resourceVersion"]},
                "status": status,
            }
            await self._api.patch(resource, namespace, name, patch, subresource="status")
        self._note(obj)

    def _note(self, obj: Obj) -> None:
        from taskrunner.domain.restoring import is_ended_here

        self._made.append(obj)
        if is_ended_here(obj, self._clock.now()):
            self._unknown.append(_called(obj).partition(" ")[2])

    def tell(self) -> None:
        """What it came to."""
        would = "would be " if self._dry_run else ""
        typer.echo(f"{would}restored: {counted(self._made)}")
        if self._unknown:
            typer.echo(
                f"These had not ended, and {would or 'are '}recorded as ended, without a start:"
                f" {', '.join(self._unknown)}"
            )
        if self._refusals:
            typer.echo(
                "The policies of an installation keep everybody but the operator from writing what"
                " it has written. Restore before installing, or install with"
                " identity.enabled=false meanwhile, and repeat the command.",
                err=True,
            )


def _is_unfinished(made: Obj, obj: Obj) -> bool:
    """Whether an object that is there has come from an earlier restore that broke off before it
    wrote the status: as the API server makes it, and nobody has touched it since."""
    return made.get("status", {}) in ({}, {"phase": "Pending"}) and made["spec"] == obj["spec"]


def _resource(obj: Obj) -> Resource:
    """The kind of an object of ours, by the rule that all of them follow."""
    group, _, version = str(obj["apiVersion"]).partition("/")
    kind = str(obj["kind"])
    return Resource(group, version, f"{kind.lower()}s", kind)
