"""The places where a process can die between two things that others see, taken from the source.

A *point* is an `await` of the engine, or of the holder of a shard. A *path* is the chain of points
that a running call of the API server, or a sleep, went through: `_finish` may write a status for
ten reasons, and each is a path of its own.
"""

from __future__ import annotations

import ast
import asyncio
import pathlib
import sys
from dataclasses import dataclass
from functools import cache
from types import CodeType, FrameType
from typing import Any, Final

import taskrunner

_SOURCE: Final = pathlib.Path(taskrunner.__file__).parent
_FILES: Final = (*sorted((_SOURCE / "engine").glob("*.py")), _SOURCE / "app" / "shard.py")
_AWAITS: Final = (ast.Await, ast.AsyncWith, ast.AsyncFor)
_LEAVES: Final = ("self._api.", "self._client.", "self._clock.sleep", "self._refresh")
_PASSES_ON: Final = "engine/signing.py"
"""Signs the creations of others; the places are those where they are called."""
_WRITES: Final = ("create", "replace", "patch", "delete", "delete_selected")


@dataclass(frozen=True, order=True)
class Point:
    """One `await` in the source."""

    file: str
    line: int
    column: int
    end: tuple[int, int]
    function: str
    text: str
    dry_run: bool = False

    @property
    def leaves(self) -> bool:
        """Whether it leaves the engine: for the API server, or to sleep."""
        return self.file != _PASSES_ON and self.text.startswith(_LEAVES)

    @property
    def writes(self) -> bool:
        """Whether it has an effect on the server, so that there is an after."""
        verb = self.text.rpartition(".")[2].partition("(")[0]
        return self.leaves and not self.dry_run and verb in _WRITES

    @property
    def place(self) -> str:
        """Without the line, so that it is the same after an edit elsewhere."""
        return f"{self.file} {self.function}: await {self.text}"

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.function}: await {self.text}"


Path = tuple[Point, ...]
"""From the outermost `await` to the innermost."""


@cache
def points() -> tuple[Point, ...]:
    """Every `await` in the source, in its order."""
    return tuple(sorted(point for file in _FILES for point in _points_of(file)))


def running_path(frame: FrameType | None = None) -> Path:
    """The points that the coroutines on the present stack wait at."""
    found: list[Point] = []
    frame = frame or sys._getframe(1)
    while frame is not None:
        if (point := _point_at(frame.f_code, frame.f_lasti)) is not None:
            found.append(point)
        frame = frame.f_back
    return tuple(reversed(found))


def resting_points() -> set[Point]:
    """The points that all tasks which are not running now wait at."""
    found: set[Point] = set()
    for task in asyncio.all_tasks():
        waiting: Any = task.get_coro()
        while waiting is not None:
            frame = getattr(waiting, "cr_frame", None)
            if frame is not None:
                point = _point_at(frame.f_code, frame.f_lasti)
                found |= {point} if point is not None else set()
            waiting = getattr(waiting, "cr_await", None)
    return found


def _points_of(file: pathlib.Path) -> list[Point]:
    found: list[Point] = []

    def walk(node: ast.AST, names: tuple[str, ...]) -> None:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names = (*names, node.name)
        if isinstance(node, _AWAITS):
            found.append(_point(file, node, ".".join(names)))
        for child in ast.iter_child_nodes(node):
            walk(child, names)

    walk(ast.parse(file.read_text(encoding="utf-8")), ())
    return found


def _point(
    file: pathlib.Path, node: ast.Await | ast.AsyncWith | ast.AsyncFor, function: str
) -> Point:
    where: ast.AST = node
    match node:
        case ast.Await(value=ast.Call(func=called) as value):
            name = ast.unparse(called)
            text = ast.unparse(value) if name.startswith("asyncio.") else f"{name}()"
        case ast.Await(value=value):
            text = ast.unparse(value)
        case ast.AsyncWith(items=[item, *_]):
            where, text = item.context_expr, f"async with {ast.unparse(item.context_expr)}"
        case _:
            text = "async for"
    assert isinstance(where, ast.expr | ast.stmt)
    end = (where.end_lineno or 0, where.end_col_offset or 0)
    path, dry = str(file.relative_to(_SOURCE)), "dry_run=True" in ast.unparse(node)
    return Point(path, where.lineno, where.col_offset, end, function, text, dry)


@cache
def _by_file() -> dict[str, list[Point]]:
    return {str(file): [p for p in points() if str(file).endswith(p.file)] for file in _FILES}


@cache
def _point_at(code: CodeType, instruction: int) -> Point | None:
    """The point whose source contains an instruction; the innermost one."""
    present = _by_file().get(code.co_filename)
    if present is None or instruction < 0:
        return None
    line, end_line, column, end_column = list(code.co_positions())[instruction // 2]
    if line is None or column is None or end_line is None or end_column is None:
        return None
    around = [
        p
        for p in present
        if (p.line, p.column) <= (line, column) and (end_line, end_column) <= p.end
    ]
    return max(around, default=None, key=lambda p: (p.line, p.column))
