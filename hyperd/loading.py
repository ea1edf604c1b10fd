"""Settings as they are given: flags override the environment, which overrides the TOML file; defaults are last."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from hyperd.errors import PermanentError
from hyperd.jsontypes import Json, JsonObject
from hyperd.settings import Settings

ENV_PREFIX = "HYPERD_"
DEFAULT_FILE = Path("/etc/hyperd/hyperd.toml")


def load(
    *,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Json] | None = None,
) -> Settings:
    """Merge file, environment and flags.

    ``overrides`` is nested as the model is. Raises PermanentError that names the source and the field.
    """
    environ = os.environ if environ is None else environ
    merged: JsonObject = {}
    source = file or Path(environ.get("HYPERD_CONFIG", str(DEFAULT_FILE)))
    if source.exists():
        try:
            merged = tomllib.loads(source.read_text())
        except ValueError as err:  # no TOML, or no UTF-8
            raise PermanentError(f"Settings file {source} is not valid TOML: {err}.") from err
    elif file is not None:
        raise PermanentError(f"Settings file {source} does not exist.")
    _merge(merged, _from_environ(environ))
    _merge(merged, dict(overrides or {}))
    try:
        return Settings.model_validate(merged)
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise PermanentError(f"Setting {where}: {first['msg']}.") from err


def _from_environ(environ: Mapping[str, str]) -> JsonObject:
    out: JsonObject = {}
    for key, value in environ.items():
        if not key.startswith(ENV_PREFIX) or key in ("HYPERD_CONFIG", "HYPERD_CRASH_AT", "HYPERD_SOCKET"):
            continue
        path = key.removeprefix(ENV_PREFIX).lower().split("__")
        parsed: Json = value
        if re.fullmatch(r"\s*\[.*\]\s*", value, re.DOTALL):
            try:
                parsed = tomllib.loads(f"v = {value}")["v"]
            except tomllib.TOMLDecodeError as err:
                raise PermanentError(f"{key} is not a valid TOML list: {err}.") from err
        put(out, path, parsed)
    return out


def put(into: JsonObject, path: Sequence[str], value: Json) -> None:
    """Set one setting in nested settings. Raises PermanentError where a part of ``path`` is no section."""
    *sections, field = path
    node = into
    for section in sections:
        inner = node.setdefault(section, {})
        if not isinstance(inner, dict):
            raise PermanentError(f"Setting {'.'.join(path)}: {section} is given a value as a whole, too.")
        node = inner
    node[field] = value


def _merge(into: JsonObject, other: Mapping[str, Json]) -> None:
    for key, value in other.items():
        former = into.get(key)
        if isinstance(value, Mapping) and isinstance(former, dict):
            _merge(former, value)
        else:
            into[key] = dict(value) if isinstance(value, Mapping) else value


def overrides(assignments: Sequence[str]) -> JsonObject:
    """``["api.port=0"]`` as nested settings; a value is TOML where it parses as such, else text."""
    found: JsonObject = {}
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path:
            raise PermanentError(f"--set {assignment}: write SECTION.FIELD=VALUE.")
        try:
            value: Json = tomllib.loads(f"v = {text}")["v"]
        except tomllib.TOMLDecodeError:
            value = text
        put(found, path.split("."), value)
    return found
