"""A folder of somebody else's that one stands in is none that our own programs are taken from."""

from __future__ import annotations

import argparse
import ast
import subprocess
from pathlib import Path

import pytest

from hyperd.cli import ssh
from hyperd.client.home import Home
from tests.unit.cli.conftest import ROOT

ROOMS = ("hyperd", "registry", "tui")


def _runs_python(node: ast.AST) -> list[str] | None:
    """The words after ``sys.executable`` of a command that is written there."""
    words = node.args if isinstance(node, ast.Call) else getattr(node, "elts", [])
    for place, word in enumerate(words):
        if ast.unparse(word) == "sys.executable":
            return [ast.unparse(after) for after in words[place + 1 :]]
    return None


def test_no_module_is_run_with_the_current_folder_on_its_path() -> None:
    commands = {
        f"{path.relative_to(ROOT)}:{node.lineno}": words
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.expr) and (words := _runs_python(node)) is not None
    }
    assert len(commands) >= 9, "the places are looked for in the wrong way"
    assert {place: words for place, words in commands.items() if words[:1] not in (["'-P'"], ["'-I'"])} == {}


def test_ssh_reaches_the_machine_by_no_module_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("hyperd", "argparse"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("open('planted', 'w').close()\n")
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    args = argparse.Namespace(socket=str(tmp_path / "none"), kubeconfig="", context="", port=22)
    command = ssh.proxy(args, Home(name="here", socket=args.socket), "shop", "web-7")
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr.startswith("hv: ")
    assert not (tmp_path / "planted").exists()
