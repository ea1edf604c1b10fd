"""A list as a file: its columns as CSV, or its objects as JSON or YAML. Blocking."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Sequence
from pathlib import Path

from hyperd.client import private, sanitize
from hyperd.client.yamltext import dump
from hyperd.errors import BadRequest, Conflict
from tui.shelf import Object

FORMS = (".csv", ".json", ".yaml")
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a spreadsheet would run; an object's name or message may begin so, or a title of the server's."""


def write(
    path: Path,
    titles: Sequence[str],
    ages: Sequence[bool],
    rows: Sequence[Sequence[object]],
    objects: list[Object],
) -> None:
    """Write a new file. Raises Conflict where there is one, BadRequest where it cannot be written."""
    if path.suffix == ".csv":
        text = _csv(titles, ages, rows)
    elif path.suffix == ".json":
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}, indent=2) + "\n"
    else:
        text = "".join(f"---\n{dump(obj)}" for obj in objects)
    try:
        with open(path, "x", encoding="utf-8", opener=private.opener) as file:
            file.write(text)
    except FileExistsError as err:
        raise Conflict(f"{path} is there already; nothing is written over it") from err
    except OSError as err:
        raise BadRequest(f"{path} cannot be written: {err.strerror}") from err


def _csv(titles: Sequence[str], ages: Sequence[bool], rows: Sequence[Sequence[object]]) -> str:
    made = io.StringIO()
    writer = csv.writer(made, lineterminator="\n")
    writer.writerow([_cell(title, age=False) for title in titles])
    for row in rows:
        writer.writerow([_cell(value, age=age) for value, age in zip(row, ages, strict=True)])
    return made.getvalue()


def _cell(value: object, *, age: bool) -> str:
    if value is None:
        return ""
    if age and isinstance(value, int | float):
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(value))
    text = sanitize.line(str(value)).strip()
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text
