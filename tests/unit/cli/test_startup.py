"""A command imports what it needs and nothing else: that is what makes ``hv`` fast."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hyperd.cli.commands import COMMANDS
from tests.unit.cli.conftest import ROOT, Hv

SLOW = {
    "aiohttp", "asyncio", "dataclasses", "email", "http.client", "hyperd.settings", "inspect", "libvirt",
    "pydantic", "rich", "shutil", "ssl", "subprocess", "textual", "yaml",
}  # fmt: skip


async def imported(hv: Hv, *arguments: str) -> set[str]:
    """The modules of a run that works."""
    program = (
        "import sys, io; from hyperd.cli.main import main; code = main(sys.argv[1:]); "
        "print('MODULES', code, *sys.modules, file=sys.stderr)"
    )
    # -S leaves out the site folder's own imports, which are not ours.
    import asyncio

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-S", "-c", program, *arguments, env=hv.env, cwd=ROOT,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, err = await process.communicate()
    _, code, *modules = err.decode().rsplit("MODULES", 1)[-1:][0].join(("MODULES", "")).split()
    assert code == "0", err
    return set(modules)


@pytest.mark.parametrize(
    "arguments", [("get", "vm"), ("get", "vm,vd,vi", "-A"), ("get", "vm", "-n", "shop", "-o", "yaml"), ("--help",)]
)
async def test_a_list_imports_nothing_slow(hv: Hv, arguments: tuple[str, ...]) -> None:
    assert not SLOW & await imported(hv, *arguments)


def test_no_command_needs_the_daemon_s_libraries_to_be_imported() -> None:
    program = (
        "import sys, importlib\n"
        "from hyperd.cli.commands import COMMANDS\n"
        "for module, _ in COMMANDS.values():\n"
        "    if module != 'doctor': importlib.import_module('hyperd.cli.' + module)\n"
        "print(*{'libvirt', 'pydantic', 'aiohttp', 'textual', 'apsw', 'yaml'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_tui_paints_before_it_imports_the_http_client() -> None:
    program = "import sys, tui.app; print(*{'aiohttp', 'pydantic', 'libvirt', 'yaml'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


async def test_every_command_has_help_with_examples(hv: Hv) -> None:
    assert (await hv("--help")).out.count("\n  ") >= len(COMMANDS)
    for command in COMMANDS:
        if command != "doctor":
            assert "Examples:\n  " in (await hv(command, "--help")).out
