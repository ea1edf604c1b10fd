"""Whatever the environment says of languages, and whatever the standard streams are."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
import yaml

from tests.tui.world import API, World, machine
from tests.unit.cli.conftest import ROOT, Hv

CORPUS = Path(__file__).parents[2] / "corpus" / "locales" / "environments.txt"
ENVIRONMENTS = [line for line in CORPUS.read_text().splitlines() if line and not line.startswith("#")]
CYRILLIC = "сервер №1 ✓"
MANIFEST = f"""apiVersion: {API}
kind: VirtualDisk
metadata: {{name: data, annotations: {{about: "{CYRILLIC}"}}}}
spec: {{persistentVolumeClaim: {{size: 1Gi}}}}
"""


def environment(line: str, base: dict[str, str]) -> dict[str, str]:
    env = dict(base)
    for word in line.split():
        if word.startswith("-"):
            env.pop(word[1:], None)
        else:
            name, _, value = word.partition("=")
            env[name] = value
    return env


async def run(
    env: dict[str, str], *arguments: str, stdin: bytes = b"", shell: str = '"$0" "$@"'
) -> tuple[int, bytes, bytes]:
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", shell, sys.executable, "-m", "hyperd.cli.main", *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env=env, cwd=ROOT,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(stdin), 60)
    for text in (out, err):
        assert b"Traceback" not in text
        assert b"defect" not in text
        assert b"Exception ignored" not in text
    assert process.returncode is not None
    return process.returncode, out, err


@pytest.mark.parametrize("line", ENVIRONMENTS)
async def test_every_command_works_in_every_locale(hv: Hv, world: World, line: str, tmp_path: Path) -> None:
    env = environment(line, hv.env)
    new = machine("ark", namespace="shop")
    new["metadata"]["annotations"] = {"about": CYRILLIC}
    await world.add("virtualmachines", new, {"phase": "Running"})
    encoding = env.get("PYTHONIOENCODING", "utf-8").partition(":")[0]
    # What an environment changes is how text goes out and comes in; which form it has makes no other difference.
    form = ENVIRONMENTS.index(line) % 3
    if form == 0:
        code, out, _ = await run(env, "get", "vm", "ark", "-n", "shop", "-o", "json")
        assert (code, json.loads(out.decode(encoding))["metadata"]["annotations"]["about"]) == (0, CYRILLIC)
    elif form == 1:
        code, out, _ = await run(env, "get", "vm", "ark", "-n", "shop", "-o", "yaml")
        assert (code, yaml.safe_load(out.decode(encoding))["metadata"]["annotations"]["about"]) == (0, CYRILLIC)
    else:
        code, out, _ = await run(env, "describe", "vm", "ark", "-n", "shop")
        assert code == 0
        assert "about=" in out.decode(encoding)
    if form == 2:
        (tmp_path / "disk.yaml").write_bytes(MANIFEST.encode("utf-16"))
        code, out, _ = await run(env, "apply", "-f", str(tmp_path / "disk.yaml"))
    else:
        code, out, _ = await run(env, "apply", "-f", "-", stdin=MANIFEST.encode())
    assert (code, out) == (0, b"virtualdisk/data created\n")
    code, _, err = await run(env, "get", "vm", "нет")
    assert code == 1
    assert err.startswith(b"hv: ")


@pytest.mark.parametrize(
    ("shell", "arguments", "codes"),
    [
        ('"$0" "$@" >&-', ("get", "vm", "-A"), {1}),
        ('"$0" "$@" >&-', ("describe", "vm", "web-7", "-n", "shop"), {1}),
        ('"$0" "$@" >&-', ("get", "vm", "-A", "-o", "yaml"), {1}),
        ('"$0" "$@" >&-', ("--help",), {1}),
        ('"$0" "$@" 2>&-', ("get", "vm", "nobody"), {1}),
        ('"$0" "$@" 2>&-', ("nosuch",), {2}),
        ('"$0" "$@" 2>&- >&- <&-', ("get", "vm", "-A"), {1}),
        ('"$0" "$@" <&-', ("get", "vm", "-A"), {0}),
        ('"$0" "$@" <&-', ("apply", "-f", "-"), {1}),
        ('"$0" "$@" <&-', ("stop", "web-7", "-n", "shop"), {1}),
        ('"$0" "$@" <&-', ("console", "web-7.shop"), {0, 1}),
        ('"$0" "$@" >/dev/full', ("get", "vm", "-A"), {1}),
        ('"$0" "$@" >/dev/full', ("log", "web-7.shop"), {1}),
        ('"$0" "$@" 2>/dev/full', ("get", "vm", "nobody"), {1}),
        ('{ "$0" "$@"; echo $? >&2; } | true', ("get", "vm", "-A", "-o", "json"), {0}),
    ],
)
async def test_streams_that_are_closed_or_full(
    hv: Hv, shell: str, arguments: tuple[str, ...], codes: set[int]
) -> None:
    code, _, err = await run(hv.env, *arguments, shell=shell)
    assert code in codes, err
    assert err.count(b"\n") <= 2


async def test_the_audit_log_is_of_the_daemon_that_is_named(hv: Hv, world: World) -> None:
    await hv("delete", "vm", "web-7", "-n", "shop")
    socket = str(world.settings.socket_path)
    env = {key: value for key, value in hv.env.items() if key != "HYPERD_SOCKET"}
    for variables, flags in ((hv.env, ()), (env, ("--socket", socket))):
        async with asyncio.timeout(20):
            while b"web-7" not in (await run(variables, "audit", *flags))[1]:
                pass
    code, _, err = await run(env, "audit", "--socket", "/nowhere/run/hyperd.sock")
    assert (code, b"--file" in err) == (1, True)
    code, _, err = await run(env, "audit", "--kubeconfig", os.devnull)
    assert (code, b"--file" in err) == (1, True)
