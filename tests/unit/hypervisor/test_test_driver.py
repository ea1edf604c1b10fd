"""Many domains, on libvirt's own test driver inside this process."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

import libvirt
import pytest

from hyperd import errors
from hyperd.hypervisor.state import DomainEvent, DomainInfo, DomainState
from hyperd.settings import HypervisorSettings
from tests.testdriver.hypervisor import URI, TestDriver
from tests.unit.hypervisor import specs

SETTINGS = HypervisorSettings(uri=URI, resync_seconds=60)


@pytest.fixture
async def hypervisor() -> AsyncIterator[TestDriver]:
    opened = TestDriver(SETTINGS, instance="many")
    await opened.start()
    await opened.wait_connected()
    yield opened
    await opened.close()


async def test_a_thousand_domains_are_listed_in_one_call(
    hypervisor: TestDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    spent: list[float] = []
    reader = hypervisor._reader
    read = reader.list_owned

    def timed(conn: libvirt.virConnect) -> dict[str, DomainInfo]:
        began = time.thread_time()
        try:
            return read(conn)
        finally:
            spent.append(time.thread_time() - began)

    monkeypatch.setattr(reader, "list_owned", timed)
    template = replace(specs.GENERIC, instance="many")
    uids = [str(uuid.uuid4()) for _ in range(1000)]
    for uid in uids:
        await hypervisor.define_and_start(replace(template, uid=uid, vm_name=uid[:8]))
    found = await hypervisor.list_owned()
    assert len(spent) == 1
    assert spent[0] < 1, "seconds of CPU; the driver is in this process"
    assert set(found) == set(uids)
    assert {info.state for info in found.values()} == {DomainState.RUNNING}
    assert all(info.vm_name == uid[:8] for uid, info in found.items())


async def test_a_domain_goes_through_its_life(hypervisor: TestDriver) -> None:
    seen: asyncio.Queue[DomainEvent] = asyncio.Queue()
    hypervisor.on_domain(lambda _uid, event: seen.put_nowait(event))
    spec = replace(specs.GENERIC, instance="many")
    await hypervisor.define_and_start(spec)
    await hypervisor.set_metadata(replace(spec, generation=7))
    await hypervisor.shutdown(spec.uid)
    off = await hypervisor.info(spec.uid)
    assert off is not None
    assert (off.state, off.generation) == (DomainState.SHUTOFF, 7)
    await hypervisor.undefine(spec.uid)
    assert await hypervisor.info(spec.uid) is None
    with pytest.raises(errors.NotFound):
        await hypervisor.start_domain(spec.uid)
    missing = {"defined", "started", "stopped"}
    async with asyncio.timeout(20):
        while missing:
            missing.discard((await seen.get()).kind)


def test_a_process_ends_at_once_even_if_it_never_closed() -> None:
    code = (
        "import asyncio\n"
        "from tests.testdriver.hypervisor import TestDriver\n"
        "from hyperd.settings import HypervisorSettings\n"
        "async def main():\n"
        "    opened = TestDriver(HypervisorSettings(uri='test:///default'), instance='a')\n"
        "    await opened.start()\n"
        "    await opened.wait_connected()\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (0, "")
