"""The homes view, and homes that come and go while one looks."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hyperd.client import remotes, ssh
from hyperd.client.home import Home
from tests import sshd
from tests.tui.conftest import Ui, looking, looking_at
from tests.tui.world import World, serving, short_folder

SIZES = [(80, 24), (100, 30), (160, 45)]


@pytest.fixture
async def node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[sshd.Sshd]:
    with short_folder() as folder:
        async with sshd.serving(folder) as server:
            for name, value in sshd.environment(server).items():
                monkeypatch.setenv(name, value)
            monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
            yield server


@pytest.fixture
async def edge() -> AsyncIterator[World]:
    with short_folder() as folder:
        async with serving(folder) as running:
            await running.machine("edge-1")
            yield running


async def _add(ui: Ui, name: str, where: str) -> None:
    await ui.press("H")
    await ui.shows("connect anew")
    await ui.press("a")
    await ui.shows("Another home")
    await ui.type(name)
    await ui.press("down")
    await ui.type(where)
    await ui.press("enter")


def _of(ui: Ui, name: str) -> str:
    """The view's line of a home."""
    return next((line for line in ui.lines if re.search(rf" {name} +[●◐✖◌] (connect|stale|error)", line)), "")


@pytest.mark.parametrize("size", SIZES)
async def test_a_home_behind_ssh_is_added_kept_and_taken_away(
    world: World, edge: World, node: sshd.Sshd, size: tuple[int, int]
) -> None:
    url = node.url(edge.settings.socket_path)
    async with looking(world, size=size) as ui:
        await ui.shows("web-7")
        await _add(ui, "edge", url)
        await ui.until(lambda: "● connected" in _of(ui, "edge"), "the home")
        await ui.until(lambda: "ms" in _of(ui, "edge"), "its round trip")
        await ui.press("escape")
        await ui.shows("edge-1", "web-7", *(["HOME"] if size[0] > 80 else []))
        assert (await asyncio.to_thread(remotes.load))["edge"].place == url
        await ui.press("H", "down", "d")
        await ui.until(lambda: not _of(ui, "edge"))
        await ui.press("escape")
        await ui.until(lambda: "edge-1" not in ui.text)
        assert "HOME" not in ui.line("NAME")
        assert await asyncio.to_thread(remotes.load) == {}


async def test_a_home_behind_ssh_that_is_lost_comes_back_by_itself(
    world: World, edge: World, node: sshd.Sshd
) -> None:
    home = ssh.home(node.url(edge.settings.socket_path), name="edge")
    async with looking_at(world.home, home) as ui:
        await ui.shows("web-7", "edge-1", "edge ●")
        await node.stop()
        await ui.shows("edge ◐")
        assert "edge-1" in ui.text
        await ui.press("H", "down")
        await ui.shows("Connection refused")
        assert "● connected" in _of(ui, world.home.name)
        await node.start()
        await ui.press("r")
        await ui.until(lambda: "● connected" in _of(ui, "edge"), "the home")
        await ui.press("escape")
        await edge.machine("edge-2")
        await ui.shows("edge-2")


async def test_a_refused_login_is_named_and_asked_for_less_and_less(
    world: World, edge: World, node: sshd.Sshd
) -> None:
    config = node.folder / "config"
    config.write_text(config.read_text().replace("/id\n", "/other\n"))
    home = ssh.home(node.url(edge.settings.socket_path), name="edge")
    async with looking_at(world.home, home) as ui:
        await ui.shows("web-7", "edge ✖")
        await ui.press("H", "down")
        await ui.shows("the login is refused", "Permission denied")
        assert node.logins == 0


async def test_what_is_no_home_is_said_before_anything_is_kept(world: World, node: sshd.Sshd) -> None:
    async with looking(world) as ui:
        await ui.shows("web-7")
        await _add(ui, "a b", "/run/x.sock")
        await ui.shows("is no name of a home")
        assert await asyncio.to_thread(remotes.load) == {}


async def test_four_homes_at_once_one_killed_one_silent_one_behind_ssh_one_that_refuses(
    world: World, edge: World, node: sshd.Sshd
) -> None:
    async def never_answer(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    far = ssh.home(node.url(edge.settings.socket_path), name="edge")
    refusing = Home(
        name="prod", host="127.0.0.1", port=edge.server.port, tls=True, token="not-one-of-its", verify=False
    )
    with short_folder() as folder:
        async with await asyncio.start_unix_server(never_answer, folder / "x.sock"):
            silent = Home(name="hung", socket=str(folder / "x.sock"))
            async with looking_at(world.home, far, silent, refusing, size=(160, 45)) as ui:
                await ui.shows("web-7", "edge-1", "edge ●", "hung ◌", "prod ✖")
                await ui.shows("prod: ")
                await ui.press("H", "down", "down", "down")
                await ui.until(lambda: "✖ error" in _of(ui, "prod"), "what it refuses")
                await ui.shows("the token is not known here, or was revoked")
                await ui.press("escape")
                await world.stop()
                await ui.until(lambda: " old" in ui.line("web-7"), "its age")
                assert "10.66.10.7" in ui.line("web-7")
                assert "● Running" in ui.line("edge-1"), "the others are as they were"
                await world.start()
                await ui.until(lambda: "● Running" in ui.line("web-7"), "it is back")
