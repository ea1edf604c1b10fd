"""``hv backup`` and ``hv restore`` as an administrator runs them, and the requests behind."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from hyperd.api.serving.maintenance import Ask, Garbage, Maintenance
from hyperd.store.embedded.backup import restore
from tests.unit.api.conftest import Api, config_map, serving

SUBRESOURCES = "/apis/subresources.virtualization.deckhouse.io/v1alpha2"
NODE = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "metal"}}


async def hv(api: Api, *arguments: str) -> tuple[int, str]:
    """Exit code and both outputs together."""
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "HYPERD_SOCKET": str(api.settings.socket_path)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "hyperd.cli.main", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=env,
    )  # fmt: skip
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert b"Traceback" not in out
    return process.returncode or 0, out.decode()


def settings_file(folder: Path) -> str:
    path = folder / "hyperd.toml"
    path.write_text(f'state_dir = "{folder}"\nrun_dir = "{folder}"\n')
    return str(path)


async def test_a_backup_is_taken_by_one_command_and_put_back_by_another(folder: Path) -> None:
    target = folder / "backups"
    await asyncio.to_thread(target.mkdir)
    config = settings_file(folder)

    asked: list[Ask] = []
    told = {"uid": "u-1", "kind": "VirtualDisk", "name": "default/a", "since": "", "message": "Volume of a."}

    async def collect(ask: Ask) -> Garbage:
        asked.append(ask)
        if ask.empty or ask.accept:
            return Garbage({})
        return Garbage({} if ask.lists else {"manifests": 2, "repositories": 1}, [told], "The store was restored.")

    running: list[Api] = []
    upkeep = Maintenance("metal", collect, backup=lambda path: running[0].store.backup(path), folder=folder)
    async with serving(folder, sessions=upkeep.handlers()) as api:
        running.append(api)
        await api.call("POST", "/api/v1/nodes", NODE)
        await api.call("POST", "/api/v1/namespaces/default/configmaps", config_map("kept", big="x" * 1_000_000))
        code, out = await hv(api, "backup", str(target / "a.db"))
        assert (code, out) == (0, f"Wrote {target}/a.db, {(target / 'a.db').stat().st_size} bytes.\n")
        assert (target / "a.db").stat().st_mode & 0o777 == 0o600
        await api.call("DELETE", "/api/v1/namespaces/default/configmaps/kept")
        code, out = await hv(api, "restore", str(target / "a.db"), "--config", config)
        assert code == 1
        assert f"in use by another hyperd (process {os.getpid()})" in out
        code, out = await hv(api, "backup", str(target / "none" / "a.db"))
        assert (code, "No such file or directory" in out) == (1, True)
        code, out = await hv(api, "backup", str(target / "b.db"), "--node", "other")
        assert (code, out) == (1, 'hv: nodes "other" not found\n')
        code, out = await hv(api, "gc")
        removed = "metal: removed 2 images and 1 repository without an image\n"
        assert out == removed + "metal: The store was restored.\nmetal: Volume of a.\n"
        assert await hv(api, "gc", "accept") == (0, "metal: nothing to remove\n")
        code, out = await hv(api, "gc", "empty", "u-2")
        assert (code, out) == (1, "hv: Nothing without an owner is kept of u-2; `hv gc` lists what is.\n")
        code, out = await hv(api, "gc", "empty", "--all")
        assert (code, "Nobody answered" in out) == (1, True)
        assert not any(ask.empty for ask in asked)
        code, out = await hv(api, "gc", "empty", "--all", "--yes")
        assert (code, out) == (0, "metal: Volume of a.\nmetal: removed what was kept of 1\n")
        assert [ask for ask in asked if ask.empty or ask.accept] == [Ask(accept=True), Ask(empty=("u-1",))]
        for wrong in (["empty"], ["empty", "u-1", "--all"], ["accept", "u-1"], ["--all"]):
            assert (await hv(api, "gc", *wrong))[0] == 1
        assert [path.name for path in target.iterdir()] == ["a.db"]
        code, out = await hv(api, "restore", str(target / "none.db"), "--config", config)
        assert (code, out) == (1, f"hyperd: There is no backup {target}/none.db.\n")
    code, out = await hv(api, "restore", str(target / "a.db"), "--config", config)
    assert code == 0, out
    assert "Start hyperd again" in out
    assert not [name for name in os.listdir(folder) if ".part" in name]
    async with serving(folder) as api:
        status, obj = await api.call("GET", "/api/v1/namespaces/default/configmaps/kept")
        assert (status, len(obj["data"]["big"])) == (200, 1_000_000)


async def test_a_store_that_is_elsewhere_is_not_backed_up_here(folder: Path) -> None:
    async def collect(_: Ask) -> Garbage:
        return Garbage({})

    handlers = Maintenance("metal", collect, backup=None, folder=folder).handlers()
    async with serving(folder, sessions=handlers) as api:
        status, answer = await api.call("GET", f"{SUBRESOURCES}/nodes/metal/backup")
        assert (status, answer["message"]) == (
            501, "The objects are in the Kubernetes API server: back up its etcd instead.",
        )  # fmt: skip
        status, _ = await api.call("POST", f"{SUBRESOURCES}/nodes/metal/collectgarbage?accept=maybe")
        assert status == 400


async def test_a_watch_and_a_page_from_before_a_restore_get_410(folder: Path) -> None:
    path = "/api/v1/namespaces/default/configmaps"
    async with serving(folder) as api:
        for name in ("a", "b"):
            await api.call("POST", path, config_map(name))
        await api.store.backup(folder / "backup")
        _, made = await api.call("POST", path, config_map("c"))
        _, page = await api.call("GET", f"{path}?limit=1")
    await asyncio.to_thread(restore, folder / "backup", api.settings.database_path)
    async with serving(folder) as api:
        version = made["metadata"]["resourceVersion"]
        _, event = await api.call("GET", f"{path}?watch=1&resourceVersion={version}&timeoutSeconds=5")
        assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
        status, answer = await api.call("GET", f"{path}?limit=1&continue={page['metadata']['continue']}")
        assert (status, answer["reason"]) == (410, "Expired")
        _, listed = await api.call("GET", path)
        assert [item["metadata"]["name"] for item in listed["items"]] == ["a", "b"]
