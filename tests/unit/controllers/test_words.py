"""Phases, reasons and types of conditions are the kinds' enums, wherever they are written or compared."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

import pytest

import hyperd
from hyperd.resources import kinds
from hyperd.resources.core import node

_FOLDER = Path(hyperd.__file__).parent
_ROOMS = ("controllers", "admission")
_NAMES = ("Phase", "Condition", "ConditionType", "Reason")


def _words() -> Iterator[str]:
    found = pkgutil.iter_modules(kinds.__path__)
    modules = [importlib.import_module(f"{kinds.__name__}.{one.name}") for one in found]
    for module in (*modules, node):
        for name, value in vars(module).items():
            if isinstance(value, type) and issubclass(value, StrEnum) and name.endswith(_NAMES):
                yield from value


WORDS = frozenset(map(str, _words()))


def _is_event(function: ast.expr) -> bool:
    return isinstance(function, ast.Attribute) and function.attr in ("event", "_event")


def _literals(tree: ast.AST) -> Iterator[ast.Constant]:
    """Those that are none of an Event's: its level and reason are words of their own, and may be the same."""
    events = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and _is_event(node.func))
    # A base may be named by a text, as views are known to mypy alone.
    bases = (base for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for base in node.bases)
    of_events = {id(inner) for one in (*events, *bases) for inner in ast.walk(one)}
    for found in ast.walk(tree):
        if isinstance(found, ast.Constant) and found.value in WORDS and id(found) not in of_events:
            yield found


def _files() -> Iterator[str]:
    for room in _ROOMS:
        yield from (str(path.relative_to(_FOLDER)) for path in sorted((_FOLDER / room).rglob("*.py")))


@pytest.mark.parametrize("name", [*_files()])
def test_no_phase_reason_or_condition_is_a_literal(name: str) -> None:
    found = _literals(ast.parse((_FOLDER / name).read_text()))
    assert [f"{one.lineno}: {one.value!r}" for one in found] == []


def test_a_literal_is_found_where_there_is_one() -> None:
    assert {"Ready", "PVCLost", "BlockDevicesReady", "MemoryPressure"} <= WORDS
    tree = ast.parse('status["phase"] = "Ready"\nself._event(disk, "Normal", "Failed", "")')
    assert [one.value for one in _literals(tree)] == ["Ready"]
