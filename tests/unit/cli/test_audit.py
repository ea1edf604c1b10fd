"""``hv audit``: what the log says, filtered, and followed past a rotation."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from tests.tui.world import World
from tests.unit.cli.conftest import ROOT, Hv


def line(name: str, **more: object) -> str:
    entry = {"time": "2026-01-02T03:04:05.678Z", "user": "unix:root", "source": "uid=0 pid=1", "verb": "create"}
    return json.dumps({**entry, "resource": "configmaps", "namespace": "shop", "name": name, "code": 201, **more})


async def test_what_was_done_is_shown_and_filtered(hv: Hv, world: World) -> None:
    await hv("delete", "vm", "web-7", "-n", "shop")
    await hv("get", "vm", "-A")
    path = str(world.settings.log_dir / "audit.log")
    async with asyncio.timeout(10):
        while "virtualmachines" not in (out := (await hv("audit", "--file", path, "--tail", "1")).out):
            pass
    assert out.split()[1:4] == ["200", "unix:root", "from"]
    assert out.endswith(": delete virtualmachines shop/web-7\n")
    assert (await hv("audit", "--file", path, "--denied")).out == ""
    assert (await hv("audit", "--file", path, "--user", "nobody")).out == ""
    entry = json.loads((await hv("audit", "--file", path, "-n", "shop", "-o", "json")).out.splitlines()[-1])
    assert entry["name"] == "web-7"


async def test_what_a_client_wrote_does_not_drive_the_terminal(hv: Hv, tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    path.write_text(line("\x1b[31mred") + "\nhalf a li")
    out = (await hv("audit", "--file", str(path))).out
    assert "red" in out
    assert "\x1b" not in out


async def test_a_missing_log_is_said(hv: Hv, tmp_path: Path) -> None:
    assert "no audit log" in (await hv("audit", "--file", str(tmp_path / "none"), code=1)).err


@pytest.mark.timeout(60)
async def test_following_goes_on_past_a_rotation(hv: Hv, tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    path.write_text(line("first") + "\n")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "hyperd.cli.main", "audit", "-f", "--file", str(path),
        stdout=asyncio.subprocess.PIPE, env=hv.env, cwd=ROOT,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        assert b"shop/first" in await process.stdout.readline()
        with path.open("a") as file:
            file.write(line("second") + "\n")
        assert b"shop/second" in await process.stdout.readline()
        path.rename(tmp_path / "audit.log.1")
        path.write_text(line("third") + "\n")
        assert b"shop/third" in await process.stdout.readline()
    finally:
        process.terminate()
        await process.wait()


async def test_all_files_are_told_in_the_order_of_time_with_what_was_folded(hv: Hv, tmp_path: Path) -> None:
    def write(name: str, *entries: dict[str, object]) -> None:
        (tmp_path / name).write_text("".join(json.dumps(entry) + "\n" for entry in entries))

    write(
        "audit.log", {"time": "1", "user": "ann", "verb": "create"}, {"time": "4", "user": "ann", "verb": "delete"}
    )
    write("audit-busy.log", {"time": "3", "user": "eve", "verb": "create"})
    folded = {"time": "2", "source": "192.0.2.1", "stage": "folded", "count": 995, "first": "0", "code": 401}
    write("audit-strangers.log", folded)
    out = (await hv("audit", "--file", str(tmp_path / "audit.log"))).out.splitlines()
    assert [line.split()[0] for line in out] == ["1", "2", "3", "4"]
    assert out[1] == "2 401 ? from 192.0.2.1: (the last of 995 since 0)"
    (tmp_path / "audit.log").unlink()
    assert len((await hv("audit", "--file", str(tmp_path / "audit.log"), "--denied")).out.splitlines()) == 1


async def test_without_a_file_it_is_the_log_of_the_hyperd_that_is_meant(
    hv: Hv, world: World, tmp_path: Path
) -> None:
    def log(folder: Path, name: str) -> Path:
        folder.mkdir(parents=True)
        (folder / "audit.log").write_text(line(name) + "\n")
        return folder

    async def shown(*flags: str, code: int = 0, **env: str) -> str:
        base = {key: value for key, value in hv.env.items() if key != "HYPERD_SOCKET"}
        result = await Hv({**base, **env})("audit", *flags, code=code)
        return result.out + result.err

    elsewhere = str(log(tmp_path / "elsewhere", "elsewhere"))
    log(tmp_path / "one/log", "one")
    log(tmp_path / "two/log", "two")
    one, two, none = (str(tmp_path / name / "run/hyperd.sock") for name in ("one", "two", "none"))
    assert "shop/one" in await shown("--socket", one)
    assert "shop/two" in await shown(HYPERD_SOCKET=two)
    assert "shop/one" in await shown("--socket", one, HYPERD_SOCKET=two, HYPERD_LOG_DIR=elsewhere)
    assert "shop/elsewhere" in await shown(HYPERD_LOG_DIR=elsewhere)
    assert "shop/two" in await shown("--file", str(tmp_path / "two/log/audit.log"), "--socket", one)
    assert "--file" in await shown("--socket", none, code=1)
    assert "--file" in await shown("--kubeconfig", str(tmp_path / "config"), code=1)
