"""`docs/reference/cli.md`: every command with its options, from the command line itself."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from enum import Enum
from typing import Any, Final, Literal, get_args, get_origin

import typer

from taskrunner.__main__ import application

_INTRODUCTION = """\
<!-- Generated from operator/taskrunner/cli by `make generate`; do not edit. -->
# Command line

`taskrunner` is also a plug-in of kubectl: where `kubectl-taskrunner` is on the `PATH`,
`kubectl taskrunner next -A` is `taskrunner next -A`. The same text is in `taskrunner --help`.

Commands that speak to a cluster use the kubeconfig that kubectl would use, and your rights. Their
output is coloured on a terminal only, and never with `NO_COLOR` set. Exit codes: 0 it worked, 1 the
cluster or the run did not do it, 2 the command or a file is wrong, 3 the wait was too long.

`taskrunner --install-completion` has the shell complete commands and options.
"""
_SHARED: Final = ("--kubeconfig", "--context", "--help")
_NAMESPACE: Final = "Namespace; default: that of the context."
"""Options that are told once."""
_TOLD_ONCE = """\
Commands that speak to a cluster also take `-n, --namespace` (default: that of the context),
`--context` and `--kubeconfig`, as kubectl does.
"""


def generate() -> dict[str, str]:
    """The text of the page by its path in the repository."""
    group = typer.main.get_command(application())
    sections = [_INTRODUCTION, _TOLD_ONCE, *_commands(group, "taskrunner")]
    return {"docs/reference/cli.md": "\n".join(sections)}


def _commands(group: Any, path: str) -> Iterator[str]:
    for name, command in group.commands.items():
        if getattr(command, "commands", None):
            yield from _commands(command, f"{path} {name}")
        else:
            yield _section(command, f"{path} {name}")


def _section(command: Any, path: str) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option"]
    usage = " ".join([path, "[OPTIONS]", *(_metavar(p) for p in arguments)])
    lines = [f"## {path}", "", "```", usage, "```", "", *_text(command.help or "")]
    rows = [(_metavar(p), _sentence(p.help or "")) for p in arguments if p.help]
    told = [p for p in options if p.opts[0] not in _SHARED and p.help != _NAMESPACE]
    rows += [(_names(p), _sentence(p.help or "")) for p in told]
    if rows:
        lines += ["| | |", "|---|---|", *(f"| `{name}` | {text} |" for name, text in rows), ""]
    return "\n".join(lines)


def _text(text: str) -> list[str]:
    """The help as Markdown: paragraphs of commands become blocks."""
    found: list[str] = []
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        lines = [line.strip() for line in paragraph.splitlines()]
        if not all(_is_command(line) for line in lines):
            found += [*lines, ""]
            continue
        shown = [f"$ {line}" for line in lines]
        if found[-2:] == ["```", ""]:
            found[-2:] = [*shown, "```", ""]
        else:
            found += ["```console", *shown, "```", ""]
    return found


def _is_command(line: str) -> bool:
    return line.startswith(("taskrunner ", "kubectl "))


def _metavar(parameter: Any) -> str:
    name = str(parameter.metavar or parameter.name.upper())
    return name if parameter.required or name.startswith("[") else f"[{name}]"


def _names(option: Any) -> str:
    names = ", ".join([*sorted(option.opts, key=len), *option.secondary_opts])
    return names if option.is_flag else f"{names} {_value(option)}"


def _value(option: Any) -> str:
    """What is written after the option."""
    kind = option.type_descriptor.annotation
    if isinstance(kind, type) and issubclass(kind, Enum):
        return " or ".join(str(choice.value) for choice in kind)
    if get_origin(kind) is Literal:
        return " or ".join(get_args(kind))
    return "N" if kind is int else "TEXT"


def _sentence(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("*", "\\*")
