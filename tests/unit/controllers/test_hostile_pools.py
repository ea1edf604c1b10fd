"""What others write beside a pool keeps it from nothing, and it asks for nothing over and over."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hyperd.resources import pooling
from hyperd.resources.all import (
    NAMESPACE,
    RESOURCE_QUOTA,
    VIRTUAL_DISK,
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_POOL,
)
from hyperd.resources.values.conditions import find_condition
from hyperd.store.interface import PatchType
from tests.unit.controllers.pooling import NAME, Pool, opened
from tests.unit.resources.samples import example


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[Pool]:
    async with opened(tmp_path) as made:
        yield made


async def test_a_machine_of_another_namespace_is_no_member_whatever_it_says(pool: Pool) -> None:
    await pool.make()
    await pool.settle()
    mine = (await pool.machines())[0]
    await pool.store.create(NAMESPACE, "", {"metadata": {"name": "theirs"}})
    kept = ("labels", "annotations", "ownerReferences")
    # Its own finalizer keeps it, however its owner is looked for.
    meta = {**{key: mine["metadata"][key] for key in kept}, "finalizers": ["example.com/kept"]}
    body = {**mine, "metadata": {**meta, "name": "foreign", "namespace": "theirs"}, "status": {}}
    await pool.store.create(VIRTUAL_MACHINE, "theirs", body)
    disk = (await pool.disks("root"))[0]
    meta = {key: disk["metadata"][key] for key in ("labels", "ownerReferences")}
    body = {**disk, "metadata": {**meta, "name": "foreign-disk", "namespace": "theirs"}, "status": {}}
    await pool.store.create(VIRTUAL_DISK, "theirs", body)
    await pool.settle()
    assert (await pool.get())["status"]["replicas"] == 3
    await pool.store.delete(VIRTUAL_MACHINE, "default", mine["metadata"]["name"])
    await pool.bury()
    await pool.settle()
    assert len(await pool.machines()) == 3, "another one is made in its place"
    status = (await pool.get())["status"]
    assert (status["replicas"], status.get("freeDisks")) == (3, None)


async def test_a_disk_that_somebody_keeps_is_neither_made_again_nor_taken_back(pool: Pool) -> None:
    await pool.make()
    await pool.settle()
    for template in ("root", "data"):
        name = (await pool.disks(template))[0]["metadata"]["name"]
        orphan = {"metadata": {"ownerReferences": None}}
        await pool.store.patch(VIRTUAL_DISK, "default", name, PatchType.MERGE, orphan)
        await pool.settle()
        asked = dict(pool.dying.asked)
        await pool.learn()
        assert await pool.look() is None, "there is nothing to look for again"
        assert pool.dying.asked == asked
        disk = (await pool.store.get(VIRTUAL_DISK, "default", name)).object()
        assert not disk["metadata"].get("ownerReferences")


async def test_what_was_refused_and_is_not_wanted_any_more_is_forgotten(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pool.make()
    quota = {
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few", "namespace": "default"},
        "spec": {"hard": {"count/virtualmachines.virtualization.deckhouse.io": "2"}},
    }  # fmt: skip
    await pool.store.create(RESOURCE_QUOTA, "default", quota)
    await pool.learn()
    assert (await pool.look()) is not None, "it is tried again"
    await pool.scale(2)
    loop = asyncio.get_running_loop()
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now + 3600)
    await pool.settle()
    await pool.learn()
    assert await pool.look() is None


async def test_what_a_number_asks_for_takes_no_more_of_the_store_than_the_namespace_has(tmp_path: Path) -> None:
    async with opened(tmp_path, namespace_bytes=64 << 10) as pool:
        await pool.make(lambda obj: obj["spec"].update(replicas=2**31 - 1))
        for _ in range(4):
            await pool.learn()
            await pool.look()
        kinds = (VIRTUAL_MACHINE_POOL, VIRTUAL_MACHINE, VIRTUAL_DISK)
        lists = [await pool.store.list(kind) for kind in kinds]
        taken = sum(len(one.raw) for listing in lists for one in listing.items)
        assert 32 << 10 < taken < 80 << 10, "only what hyperd says of what is there comes on top"
        progress = find_condition(await pool.get(), "Progressing") or {}
        assert "raise the setting store.namespace_bytes" in progress["message"]


def test_a_digest_that_viewers_see_tells_no_user_data_by_trying_words() -> None:
    digests = set()
    for uid, word in (("a", "secret"), ("a", "Secret"), ("b", "secret"), ("a", "")):
        made: Any = copy.deepcopy(example("VirtualMachinePool", NAME))
        made["metadata"]["uid"] = uid
        made["spec"]["virtualMachineTemplate"]["spec"]["provisioning"] = {"type": "UserData", "userData": word}
        digests.add(pooling.template_hash(made))
        assert pooling.template_hash(made) in digests
        plain = json.dumps(made["spec"]["virtualMachineTemplate"], sort_keys=True, separators=(",", ":"))
        told = pooling.template_hash(made) == hashlib.sha256(plain.encode()).hexdigest()[:10]
        assert told is (not word)
    assert len(digests) == 4, "what changes is seen to change, and is another's elsewhere"
