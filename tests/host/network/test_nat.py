"""Who switches forwarding on for NAT, and whether it is off again when the last one is gone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hyperd.errors import TemporaryError
from hyperd.network.kinds.routed import nat
from hyperd.network.kinds.routed.host import HostNetwork
from hyperd.settings import NetworkSettings
from tests.host.network.lab import run

FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


def daemon(instance: str, *, with_nat: bool = True) -> HostNetwork:
    """A fresh process's view: it remembers nothing of an earlier one."""
    return HostNetwork(NetworkSettings(nat=with_nat), instance=instance)


async def forwarding() -> bool:
    return await asyncio.to_thread(FORWARDING.read_text) == "1\n"


async def switch(value: str) -> None:
    await asyncio.to_thread(FORWARDING.write_text, value)


@pytest.mark.parametrize("was_on", [False, True])
@pytest.mark.parametrize("leaves", ["remove_all", "setting"])
@pytest.mark.parametrize("starts", [1, 3])
async def test_forwarding_is_after_nat_what_it_was_before(was_on: bool, leaves: str, starts: int) -> None:
    await switch("1" if was_on else "0")
    for _ in range(starts):
        await daemon("a-b").start()
        assert await forwarding()
    for _ in range(2):
        if leaves == "setting":
            await daemon("a-b", with_nat=False).start()
        else:
            await daemon("a-b").remove_all()
        assert await forwarding() == was_on
    assert run("nft", "list", "ruleset").stdout == ""


@pytest.mark.parametrize("was_on", [False, True])
@pytest.mark.parametrize("order", [("a", "b", "c"), ("c", "b", "a"), ("b", "a", "c")])
async def test_the_last_of_many_instances_takes_forwarding_along(was_on: bool, order: tuple[str, ...]) -> None:
    await switch("1" if was_on else "0")
    await asyncio.gather(*(daemon(name).start() for name in "abc"))
    for name in order[:-1]:
        await daemon(name).remove_all()
        assert await forwarding(), "the others need it"
    await daemon(order[-1]).start()
    await daemon(order[-1]).remove_all()
    assert await forwarding() == was_on


async def test_an_instance_without_nat_touches_no_forwarding() -> None:
    await switch("1")
    await daemon("plain", with_nat=False).start()
    await daemon("plain", with_nat=False).remove_all()
    assert await forwarding()


async def test_devices_that_forwarded_by_themselves_do_so_again() -> None:
    for name in ("eth.1", "tun-2"):
        run("ip", "tuntap", "add", name, "mode", "tap")
    run("sysctl", "-w", "net/ipv4/conf/eth.1/forwarding=1")
    await daemon("a").start()
    await daemon("b").start()
    await daemon("a").remove_all()
    await daemon("b").remove_all()
    assert not await forwarding()
    told = {name: run("cat", f"/proc/sys/net/ipv4/conf/{name}/forwarding").stdout for name in ("eth.1", "tun-2")}
    assert told == {"eth.1": "1\n", "tun-2": "0\n"}


@pytest.mark.parametrize("leaving", [False, True])
async def test_killed_half_way_it_is_finished_by_the_next_run(
    monkeypatch: pytest.MonkeyPatch, leaving: bool
) -> None:
    """Between the table and the switch, in both directions."""

    def killed(*_: object) -> None:
        raise TemporaryError("killed")

    if leaving:
        await daemon("a").start()
    with monkeypatch.context() as patch:
        patch.setattr(nat, "_write", killed)
        with pytest.raises(TemporaryError):
            await (daemon("a").remove_all() if leaving else daemon("a").start())
    await daemon("a").start()
    assert await forwarding()
    await daemon("a").remove_all()
    assert not await forwarding()
