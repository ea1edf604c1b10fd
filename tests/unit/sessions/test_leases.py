"""Leases: who holds a session is seen by everybody, and given up in time."""

from __future__ import annotations

from hyperd.api.sessions.lease import SessionKind, lease_name
from hyperd.resources.core.kinds import LEASE
from hyperd.resources.schema.kind import Object
from tests.unit.sessions.conftest import Lab
from tests.unit.sessions.test_sessions import closed, lease, until


async def test_the_lease_tells_everybody_and_is_renewed(lab: Lab) -> None:
    vm = await lab.machine()
    await lab.serial(vm)
    async with lab.connect(user="alice", headers={"User-Agent": "d8v/1.0\u00e9" + "x" * 300}):
        await until(lambda: lease(lab, vm))
        first = await lease(lab, vm)
        assert first is not None
        assert first["metadata"]["name"] == f"d8v-vm-console-web-{vm['metadata']['uid']}"
        assert first["metadata"]["ownerReferences"][0]["uid"] == vm["metadata"]["uid"]
        client = first["metadata"]["annotations"]["virtualization.deckhouse.io/session-client"]
        assert client.startswith("d8v/1.0")
        assert len(client) == 128
        assert first["spec"]["holderIdentity"] == "alice"
        assert first["spec"]["leaseDurationSeconds"] == 30

        async def renewed() -> bool:
            now = await lease(lab, vm)
            return now is not None and now["spec"]["renewTime"] > first["spec"]["renewTime"]

        await until(renewed)
        await lab.store.delete(LEASE, "default", first["metadata"]["name"])
        await until(lambda: lease(lab, vm))


async def test_sessions_that_end_at_once_leave_no_lease(lab: Lab) -> None:
    vm = await lab.machine()
    await lab.serial(vm)
    for _ in range(10):
        async with lab.connect():
            pass
    await lab.sessions.close()
    assert await lease(lab, vm) is None


async def test_a_session_yields_to_another_daemons_lease(lab: Lab) -> None:
    vm = await lab.machine()
    await lab.serial(vm)
    async with lab.connect(user="alice") as socket:
        await until(lambda: lease(lab, vm))
        for _ in range(20):
            theirs = await lease(lab, vm)
            assert theirs is not None
            theirs["metadata"]["annotations"]["virtualization.deckhouse.io/session-id"] = "theirs"
            theirs["spec"]["holderIdentity"] = "carol"
            try:
                await lab.store.update(LEASE, "default", theirs["metadata"]["name"], theirs)
                break
            except Exception:  # noqa: BLE001  a renewal came between
                continue
        assert await closed(socket) == (1001, '"carol" took over the session')
    left = await lease(lab, vm)
    assert left is not None
    assert left["spec"]["holderIdentity"] == "carol"


async def test_a_lease_left_by_a_killed_daemon_is_taken_over_and_expires(lab: Lab) -> None:
    vm = await lab.machine()
    await lab.serial(vm)
    name = lease_name(SessionKind.CONSOLE, vm)
    left: Object = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "holderIdentity": "ghost",
            "leaseDurationSeconds": 30,
            "renewTime": "2020-01-01T00:00:00.000000Z",
        },
    }
    await lab.store.create(LEASE, "default", left)
    assert (await lab.get("console?probe=true"))[1]["holder"] == ""
    async with lab.connect(user="alice"):

        async def taken() -> bool:
            now = await lease(lab, vm)
            return now is not None and now["spec"]["holderIdentity"] == "alice"

        await until(taken)


def test_a_lease_name_that_would_be_too_long_ends_in_a_hash() -> None:
    vm: Object = {"metadata": {"name": "v" * 250, "uid": "0123abcd-4567-4567-8567-0123456789ab"}}
    other: Object = {"metadata": {"name": "v" * 250, "uid": "1123abcd-4567-4567-8567-0123456789ab"}}
    names = {lease_name(SessionKind.CONSOLE, vm), lease_name(SessionKind.CONSOLE, other)}
    assert len(names) == 2
    assert all(len(name) <= 253 for name in names)
