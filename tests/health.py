"""What Argo CD makes of an object: our health scripts, run by the Lua 5.1 that it has."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from lupa.lua51 import LuaRuntime

_SCRIPTS = Path(__file__).parents[1] / "gitops" / "argocd" / "health"
_LIBRARY = (
    "os",
    "io",
    "package",
    "require",
    "debug",
    "dofile",
    "loadfile",
    "string",
    "table",
    "math",
)
"""What Argo CD does not offer to a script (resource.customizations.useOpenLibs is off)."""


class Health(NamedTuple):
    status: str
    message: str


def argo_health(obj: dict[str, Any]) -> Health:
    """Run the script of the object's kind on it."""
    lua = LuaRuntime()
    for name in _LIBRARY:
        lua.execute(f"{name} = nil")
    lua.globals().obj = lua.table_from(_without_nulls(obj), recursive=True)
    result = lua.execute((_SCRIPTS / f"{obj['kind']}.lua").read_text(encoding="utf-8"))
    return Health(result["status"], result["message"])


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value
