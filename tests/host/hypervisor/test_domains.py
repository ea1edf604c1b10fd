"""Domains on a real libvirt and QEMU."""

from __future__ import annotations

import asyncio
import os
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from hyperd import errors
from hyperd.hypervisor.hypervisor import LibvirtHypervisor
from hyperd.hypervisor.spec import DiskCache, DiskSpec, DomainSpec, NicSpec
from hyperd.hypervisor.state import DomainState
from hyperd.hypervisor.xml.domain import disk_targets
from hyperd.hypervisor.xml.layout import slots_of
from hyperd.imagefile.handle import DiskFormat, FileHandle
from tests.host.hypervisor.conftest import Record, settings
from tests.host.node import Node
from tests.unit.hypervisor import specs


async def test_a_guest_is_defined_started_destroyed_and_undefined(
    hypervisor: LibvirtHypervisor, record: Record, spec: DomainSpec
) -> None:
    assert await hypervisor.info(spec.uid) is None
    await hypervisor.define(spec)
    defined = await hypervisor.info(spec.uid)
    assert defined is not None
    assert (defined.state, defined.pid, defined.persistent) == (DomainState.SHUTOFF, None, True)

    started = await hypervisor.define_and_start(replace(spec, generation=4))
    assert (started.state, started.active, started.generation) == (DomainState.RUNNING, True, 4)
    assert (started.namespace, started.vm_name, started.applied) == ("default", "web-1", "c0ffee")
    assert started.pid
    assert list(await hypervisor.list_owned()) == [spec.uid]
    sample = (await hypervisor.stats())[spec.uid]
    assert sample.memory_bytes == spec.memory_bytes
    assert sample.resident_bytes > 0
    assert sample.vcpus == spec.cores

    await hypervisor.destroy(spec.uid)
    assert (await record.event("stopped")).reason == "destroyed"
    stopped = await hypervisor.info(spec.uid)
    assert stopped is not None
    assert (stopped.state, stopped.reason) == (DomainState.SHUTOFF, "destroyed")
    await hypervisor.undefine(spec.uid)
    await record.event("undefined")
    assert await hypervisor.info(spec.uid) is None
    assert {"defined", "started", "stopped", "undefined"} <= {event.kind for event in record.events}


async def test_the_facts_tell_what_guests_may_have(hypervisor: LibvirtHypervisor) -> None:
    facts = await hypervisor.facts()
    assert "qemu64" in facts.cpu_models
    assert {"fpu", "sse2"} <= facts.features
    assert facts.libvirt_version.count(".") == facts.qemu_version.count(".") == 2
    assert facts.cpus > 0
    assert facts.kvm_usable == (not facts.why_not_kvm)
    assert await hypervisor.facts() is facts


async def test_every_step_may_be_repeated(hypervisor: LibvirtHypervisor, spec: DomainSpec) -> None:
    first = await hypervisor.define_and_start(spec)
    again = await hypervisor.define_and_start(spec)
    await hypervisor.start_domain(spec.uid)
    assert again.pid == first.pid
    await hypervisor.resume(spec.uid)
    for _ in range(2):
        await hypervisor.destroy(spec.uid)
    await hypervisor.shutdown(spec.uid)
    for _ in range(2):
        await hypervisor.undefine(spec.uid)


async def test_calls_on_a_missing_domain_raise_not_found(hypervisor: LibvirtHypervisor, spec: DomainSpec) -> None:
    for call in (
        hypervisor.start_domain(spec.uid),
        hypervisor.shutdown(spec.uid),
        hypervisor.destroy(spec.uid),
        hypervisor.io_errors(spec.uid),
        hypervisor.open_graphics(spec.uid),
        hypervisor.block_resize(spec.uid, specs.ROOT.source, 1),
    ):
        with pytest.raises(errors.NotFound, match=spec.uid):
            await call
    assert await hypervisor.stats([spec.uid]) == {}


async def test_a_running_guest_keeps_its_generation_until_it_restarts(
    hypervisor: LibvirtHypervisor, spec: DomainSpec
) -> None:
    await hypervisor.define_and_start(spec)
    await hypervisor.define(replace(spec, generation=9, applied="new"))
    running = await hypervisor.info(spec.uid)
    assert running is not None
    assert (running.generation, running.applied) == (3, "c0ffee")
    await hypervisor.destroy(spec.uid)
    off = await hypervisor.info(spec.uid)
    assert off is not None
    assert (off.generation, off.applied) == (9, "new")


async def test_marks_can_be_rewritten_on_a_running_guest(hypervisor: LibvirtHypervisor, spec: DomainSpec) -> None:
    await hypervisor.define_and_start(spec)
    await hypervisor.set_metadata(replace(spec, generation=5, vm_name='a "<b>'))
    info = await hypervisor.info(spec.uid)
    assert info is not None
    assert (info.generation, info.vm_name) == (5, 'a "<b>')


async def test_two_instances_on_one_libvirtd_do_not_see_each_other(
    node: Node, hypervisor: LibvirtHypervisor, record: Record, spec: DomainSpec
) -> None:
    other = LibvirtHypervisor(settings(node), instance="hyperd-two")
    await other.start()
    await other.wait_connected()
    seen = Record(other)
    theirs = replace(spec, uid=str(uuid.uuid4()), instance="hyperd-two")
    await other.define(theirs)
    await hypervisor.define(spec)
    await seen.event("defined")
    await record.event("defined")
    assert list(await hypervisor.list_owned()) == [spec.uid]
    assert list(await other.list_owned()) == [theirs.uid]
    assert await hypervisor.info(theirs.uid) is None
    assert {event.uid for event in record.events} == {spec.uid}
    assert {event.uid for event in seen.events} == {theirs.uid}
    await other.close()


async def test_a_domain_of_our_name_without_our_mark_is_not_ours(
    node: Node, hypervisor: LibvirtHypervisor, qemu_dir: Path, spec: DomainSpec
) -> None:
    xml = qemu_dir / "foreign.xml"
    xml.write_text(
        f"<domain type='qemu'><name>{spec.name}</name><uuid>{spec.uid}</uuid><memory>65536</memory>"
        "<os><type machine='q35'>hvm</type></os></domain>"
    )
    node.virsh("define", str(xml))
    assert await hypervisor.list_owned() == {}
    assert await hypervisor.info(spec.uid) is None


async def test_qemu_killed_is_told_as_a_crash(
    node: Node, hypervisor: LibvirtHypervisor, record: Record, spec: DomainSpec
) -> None:
    info = await hypervisor.define_and_start(spec)
    node.exec(["kill", "-KILL", str(info.pid)])
    assert (await record.event("stopped")).reason == "failed"
    after = await hypervisor.info(spec.uid)
    assert after is not None
    assert (after.state, after.pid) == (DomainState.SHUTOFF, None)


async def test_a_guest_can_start_paused_and_go_on(
    hypervisor: LibvirtHypervisor, record: Record, spec: DomainSpec
) -> None:
    info = await hypervisor.define_and_start(spec, paused=True)
    assert (info.state, info.reason) == (DomainState.PAUSED, "user")
    await hypervisor.resume(spec.uid)
    await record.event("resumed")
    await hypervisor.reset(spec.uid)


async def test_a_screen_is_opened_as_a_connected_socket(hypervisor: LibvirtHypervisor, spec: DomainSpec) -> None:
    await hypervisor.define_and_start(replace(spec, vnc=True))
    with await hypervisor.open_graphics(spec.uid) as screen:
        screen.setblocking(False)
        assert await asyncio.get_running_loop().sock_recv(screen, 12) == b"RFB 003.008\n"


async def test_a_screen_whose_viewer_left_early_is_closed(hypervisor: LibvirtHypervisor, spec: DomainSpec) -> None:
    await hypervisor.define_and_start(replace(spec, vnc=True))
    (await hypervisor.open_graphics(spec.uid)).close()
    before = len(os.listdir("/proc/self/fd"))
    for number in range(20):
        opening = asyncio.create_task(hypervisor.open_graphics(spec.uid))
        await asyncio.sleep(number * 0.0005)
        opening.cancel()
        await asyncio.wait([opening])
        del opening
    async with asyncio.timeout(10):
        while len(os.listdir("/proc/self/fd")) > before:
            await asyncio.sleep(0.01)


async def test_a_guest_without_agent_cannot_be_asked(hypervisor: LibvirtHypervisor, spec: DomainSpec) -> None:
    await hypervisor.define_and_start(replace(spec, agent=True))
    with pytest.raises(errors.ServiceUnavailable, match="agent"):
        await hypervisor.guest_agent_info(spec.uid, timeout=1)


async def test_impossible_domains_are_refused_for_good(hypervisor: LibvirtHypervisor, spec: DomainSpec) -> None:
    kvm = replace(spec, domain_type=specs.WINDOWS.domain_type)
    if not (await hypervisor.facts()).kvm_usable:
        with pytest.raises(errors.PermanentError):
            await hypervisor.define_and_start(kvm)
    with pytest.raises(errors.PermanentError, match="Cannot define domain"):
        await hypervisor.define(replace(spec, nics=(NicSpec(tap="t0", mac="not a mac"),)))


def blank(folder: Path, name: str, format_: DiskFormat, node: Node) -> FileHandle:
    path = folder / name
    node.exec(["qemu-img", "create", "-q", "-f", format_, path, "8M"])
    return FileHandle(path, format_)


async def test_a_disk_grows_and_never_shrinks(
    node: Node, hypervisor: LibvirtHypervisor, qemu_dir: Path, spec: DomainSpec
) -> None:
    root = DiskSpec(name="vd-root", source=blank(qemu_dir, "a", DiskFormat.QCOW2, node), serial=specs.serial(1))
    guest = replace(spec, disks=(root,))
    await hypervisor.define_and_start(guest)
    target = disk_targets(guest)["vd-root"]
    await hypervisor.block_resize(spec.uid, root.source, 16 << 20)
    with pytest.raises(errors.Conflict, match="cannot shrink"):
        await hypervisor.block_resize(spec.uid, root.source, 8 << 20)
    with pytest.raises(errors.NotFound, match="has no disk at"):
        await hypervisor.block_resize(spec.uid, specs.DATA.source, 16 << 20)
    assert "16777216" in node.virsh("domblkinfo", spec.name, target)
    assert await hypervisor.io_errors(spec.uid) == {}


async def test_a_disk_in_use_says_so(
    node: Node, hypervisor: LibvirtHypervisor, qemu_dir: Path, spec: DomainSpec
) -> None:
    disk = DiskSpec(name="vd-root", source=blank(qemu_dir, "a", DiskFormat.QCOW2, node), serial=specs.serial(1))
    await hypervisor.define_and_start(replace(spec, disks=(disk,)))
    second = replace(spec, uid=str(uuid.uuid4()), disks=(disk,))
    with pytest.raises(errors.TemporaryError, match="lock") as caught:
        await hypervisor.define_and_start(second)
    assert caught.value.key == "DiskInUse"
    await hypervisor.undefine(second.uid)


@pytest.mark.parametrize("name", ["generic", "legacy", "plain", "legacy-plain", "modelled", "secure", "kept"])
async def test_every_kind_of_guest_starts(
    node: Node, hypervisor: LibvirtHypervisor, qemu_dir: Path, name: str
) -> None:
    chosen = specs.ALL[name]
    uid = str(uuid.uuid4())
    guest = replace(
        chosen,
        uid=uid,
        domain_type=specs.BARE.domain_type,
        memory_bytes=128 << 20,
        nvram=qemu_dir / "nvram.fd" if chosen.nvram else None,
        cpu=replace(chosen.cpu, features=("aes",) if chosen.cpu.features else ()),
        cpu_shares=None,
        cpu_quota=None,
        disks=tuple(
            replace(disk, source=blank(qemu_dir, disk.name, disk.source.format, node), cache=DiskCache.WRITEBACK)
            for disk in chosen.disks
        ),
        nics=(replace(chosen.nics[0], tap="hvt0"),),
        serial_socket=qemu_dir / "serial",
        serial_log=qemu_dir / "log",
        firmware_log=qemu_dir / "bios" if chosen.firmware_log else None,
    )
    node.exec(["ip", "tuntap", "add", "dev", "hvt0", "mode", "tap", "vnet_hdr"])
    try:
        await hypervisor.define_and_start(guest)
        assert (await hypervisor.info(uid)) is not None
        assert (qemu_dir / "serial").is_socket()
        sample = (await hypervisor.stats([uid]))[uid]
        assert {disk.target for disk in sample.disks} == set(disk_targets(guest).values())
        assert slots_of(guest).items() <= (await hypervisor.slots(uid)).items()
        await hypervisor.destroy(uid)
        await hypervisor.undefine(uid)
        assert not (qemu_dir / "nvram.fd").exists()
    finally:
        node.exec(["ip", "link", "del", "hvt0"])
