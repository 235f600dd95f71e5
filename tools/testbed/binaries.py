"""Builds the pinned programs with Go, once for each machine, and says where they are.

A binary appears under its final name only when it is complete, so whoever sees it may run it. Two
processes may ask at once: a lock file for each module makes the second one wait and then find
everything there.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from testbed import paths
from testbed.errors import MissingPartError, TestbedError
from testbed.versions import DEFAULT_KUBERNETES, GoModule, module_of

Progress = Callable[[str], None]


def to_stderr(message: str) -> None:
    """The default way to show progress: a line on standard error."""
    print(message, file=sys.stderr, flush=True)


def path(program: str, kubernetes: str = DEFAULT_KUBERNETES) -> Path:
    """Where the program is, or would be once built."""
    module = module_of(program, kubernetes)
    return paths.binaries() / module.key / program


def missing(programs: Iterable[str], kubernetes: str = DEFAULT_KUBERNETES) -> list[str]:
    """Those of the programs that have not been built yet."""
    return [program for program in programs if not path(program, kubernetes).exists()]


def ensure(
    programs: Iterable[str],
    kubernetes: str = DEFAULT_KUBERNETES,
    progress: Progress = to_stderr,
) -> dict[str, Path]:
    """Build what is missing and return the path of each program.

    Raises:
        MissingPartError: something must be built and Go is not installed.
        TestbedError: a build failed; the message has the compiler's last lines.
    """
    wanted = list(programs)
    modules: dict[str, tuple[GoModule, list[str]]] = {}
    for program in missing(wanted, kubernetes):
        module = module_of(program, kubernetes)
        modules.setdefault(module.key, (module, []))[1].append(program)
    for module, absent in modules.values():
        with _lock(module, progress):
            # The order of the table: the first program compiles what the others share.
            for program in module.programs:
                if program in absent and not (paths.binaries() / module.key / program).exists():
                    _build(module, program, progress)
    return {program: path(program, kubernetes) for program in wanted}


def _build(module: GoModule, program: str, progress: Progress) -> None:
    target = paths.binaries() / module.key / program
    # A name that no finished binary has; a crash here leaves a file that the next build replaces.
    unfinished = target.with_name(f".{program}.part")
    usual = _readable(module.usual_seconds[program])
    compiler = go()
    progress(
        f"building {program} {module.version} (usually {usual} on 2 cores, once for each machine)"
    )
    started = time.monotonic()
    command = [
        compiler, "build", *module.build_flags, "-o", str(unfinished), module.programs[program],
    ]  # fmt: skip
    # Without cgo the result depends on no C compiler and on no library of the machine. A workspace
    # or flags of the user's must not change what is built.
    environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": ""}
    done = subprocess.run(
        command,
        cwd=module.path,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        unfinished.unlink(missing_ok=True)
        tail = "\n".join(done.stdout.splitlines()[-20:])
        raise TestbedError(f"`go build` of {program} {module.version} failed:\n{tail}")
    unfinished.replace(target)
    progress(f"built {program} {module.version} in {_readable(time.monotonic() - started)}")


def go() -> str:
    """The Go command.

    Raises:
        MissingPartError: Go is not installed.
    """
    found = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin:/usr/lib/go/bin")
    if found is None:
        raise MissingPartError(
            "Go is not installed, and the cluster's programs are built with it: install Go 1.26 "
            "or newer (https://go.dev/doc/install) and put it on PATH, or where Docker runs use "
            "`--cluster=kind`."
        )
    return found


@contextlib.contextmanager
def _lock(module: GoModule, progress: Progress) -> Iterator[None]:
    directory = paths.binaries() / module.key
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"waiting for another process that builds {module.directory}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield  # closing the file, or the death of the process, gives the lock back


def _readable(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min"
