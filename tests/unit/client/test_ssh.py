"""Homes behind ``ssh://``: OpenSSH's client, a server that the test starts, a real API behind it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hyperd.client import ssh
from hyperd.client.home import DEFAULT_SOCKET
from hyperd.errors import BadRequest
from tests import sshd
from tests.tui.world import World, short_folder
from tests.unit.cli.conftest import Hv, hv, world

__all__ = ["hv", "world"]


@pytest.fixture
async def node(hv: Hv) -> AsyncIterator[sshd.Sshd]:
    with short_folder() as folder:
        async with sshd.serving(folder) as server:
            del hv.env["HYPERD_SOCKET"]
            hv.env.update(sshd.environment(server))
            yield server


async def test_a_home_is_reached_by_the_user_s_ssh_which_later_commands_share(
    hv: Hv, world: World, node: sshd.Sshd
) -> None:
    url = node.url(world.settings.socket_path)
    assert "web-7" in (await hv("--socket", url, "get", "vm", "-n", "shop")).out
    hv.env["HYPERD_SOCKET"] = url
    assert "debian-12" in (await hv("get", "vi", "-A")).out
    assert node.logins == 1
    (folder,) = (node.folder / "r").iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700


async def test_it_is_reached_again_after_the_connection_broke(hv: Hv, world: World, node: sshd.Sshd) -> None:
    hv.env["HYPERD_SOCKET"] = node.url(world.settings.socket_path)
    await hv("get", "vm")
    await node.stop()
    refused = await hv("get", "vm", code=1)
    assert "cannot be reached" in refused.err
    assert "Connection refused" in refused.err
    await node.start()
    await hv("get", "vm", "-n", "shop")
    assert node.logins == 2


async def test_what_is_wrong_is_named_with_what_mends_it(hv: Hv, world: World, node: sshd.Sshd) -> None:
    hv.env["HYPERD_SOCKET"] = node.url(world.settings.socket_path)
    config, known = node.folder / "config", node.folder / "known"
    good, there = config.read_text(), known.read_text()
    config.write_text(good.replace("/id\n", "/other\n"))
    login = await hv("get", "vm", code=1)
    assert "the login is refused" in login.err
    assert f"ssh ssh://admin@127.0.0.1:{node.port}" in login.err
    config.write_text(good)
    known.write_text("")
    assert "does not know the host's key" in (await hv("get", "vm", code=1)).err
    known.write_text(there)
    hv.env["HYPERD_SOCKET"] = node.url(world.settings.socket_path.with_name("absent.sock"))
    absent = await hv("get", "vm", code=1)
    assert "nothing answers at" in absent.err
    assert "absent.sock there" in absent.err
    hv.env["HV_SSH_COMMAND"] = "/nonexistent/ssh"
    hv.env["HYPERD_SOCKET"] = "ssh://nowhere.invalid"
    assert "/nonexistent/ssh cannot be run" in (await hv("get", "vm", code=1)).err


async def test_what_reads_files_of_hyperd_s_host_says_to_be_run_there(hv: Hv, node: sshd.Sshd) -> None:
    hv.env["HYPERD_SOCKET"] = "ssh://root@edge.example"
    assert "run hv kubeconfig there" in (await hv("kubeconfig", code=1)).err
    assert "on the host of ssh://root@edge.example" in (await hv("audit", code=1)).err
    assert "ssh:" not in (await hv("doctor", code=None)).out


async def test_a_home_is_kept_under_a_name(hv: Hv, world: World, node: sshd.Sshd) -> None:
    url = node.url(world.settings.socket_path)
    assert "No homes are kept" in (await hv("remote")).out
    await hv("remote", "add", "edge", url)
    assert "already" in (await hv("remote", "add", "edge", url, code=1)).err
    listed = (await hv("remote", "list")).out.splitlines()
    assert listed[1].split()[:2] == ["edge", "●"]
    assert listed[1].endswith(url)
    assert "web-7" in (await hv("--context", "edge", "get", "vm", "-n", "shop")).out
    assert (await hv("__complete", "3", "get", "--context", "e")).out.split() == ["edge"]
    await hv("remote", "add", "gone", str(node.folder / "none.sock"))
    assert "✖" in (await hv("remote", "list", code=1)).out
    await hv("remote", "remove", "gone")
    assert "there are: edge" in (await hv("remote", "remove", "gone", code=1)).err


@pytest.mark.parametrize(
    "text",
    ["[homes.a]\n", "[homes.a]\nat = 3\n",
     "homes = 3\n", "[homes.'a b']\nat = '/x'\n", "[homes.a]\nat = '/x'\nb = 1",
     "\xff",
     "[homes.a]\nat = 'ssh://-oProxyCommand=x'\n"],
)  # fmt: skip
async def test_a_file_of_homes_that_says_something_else_is_named(hv: Hv, text: str) -> None:
    file = Path(hv.env["HOME"]) / ".config/hyperd/homes.toml"
    file.parent.mkdir(parents=True)
    file.write_bytes(text.encode("latin-1"))
    refused = await hv("--context", "a", "get", "vm", code=1)
    assert str(file) in refused.err or "no address like" in refused.err


def test_an_address_says_who_where_and_which_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    home = ssh.home("ssh://root@[fe80::1]:2222/run/x/y.sock")
    assert (home.name, home.where) == ("fe80::1", "ssh://root@[fe80::1]:2222/run/x/y.sock")
    assert home.socket.startswith(f"/tmp/hyperd-ssh-{os.getuid()}/")
    assert DEFAULT_SOCKET in ssh.unanswered(ssh.home("ssh://node")).message


@pytest.mark.parametrize(
    "url",
    ["ssh://", "ssh://-oProxyCommand=x", "ssh://-x@node", "ssh://a b", "ssh://node/a:b", "ssh://node/%h",
     "ssh://node/${HOME}", "ssh://node:0", "ssh://node:70000", "ssh://node\n", "http://node", "ssh://a@b@c"],
)  # fmt: skip
def test_what_ssh_could_take_for_more_than_an_address_is_none(url: str) -> None:
    with pytest.raises(BadRequest, match="is no address like"):
        ssh.home(url)


def test_a_folder_that_is_somebody_else_s_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with short_folder() as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
        (folder / "hyperd-ssh").mkdir(mode=0o755)
        home = ssh.home("ssh://node")
        with pytest.raises(Exception, match="not a folder of this user alone"):
            ssh.reach(home, ask=False)
