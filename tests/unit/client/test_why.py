"""Every seeded fault is found at its root, and what mends it is said."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperd.client.hopeless import cannot_come
from hyperd.client.why import told, why

Object = dict[str, Any]
GROUP = "virtualization.deckhouse.io/v1alpha2"


def obj(kind: str, name: str, phase: str, *, spec: Object | None = None, **condition: str) -> Object:
    """``condition``: type → message, all of them False."""
    conditions = [
        {"type": type_, "status": "False", "reason": type_, "message": message}
        for type_, message in condition.items()
    ]
    return {
        "apiVersion": GROUP,
        "kind": kind,
        "metadata": {"name": name, "namespace": "shop", "uid": f"{kind}/{name}"},
        "spec": spec or {},
        "status": {"phase": phase, "conditions": conditions},
    }


def vm(phase: str = "Pending", **condition: str) -> Object:
    spec = {
        "virtualMachineClassName": "generic",
        "virtualMachineIPAddressName": "fixed",
        "blockDeviceRefs": [{"kind": "VirtualDisk", "name": "root"}, {"kind": "VirtualDisk", "name": "data"}],
    }
    return obj("VirtualMachine", "web", phase, spec=spec, **condition)


def disk(name: str = "root", phase: str = "Pending", of: str = "deb", **condition: str) -> Object:
    source = {"dataSource": {"type": "ObjectRef", "objectRef": {"kind": "VirtualImage", "name": of}}}
    return obj("VirtualDisk", name, phase, spec=source if of else {}, **condition)


def image(phase: str, text: str = "") -> Object:
    return obj("VirtualImage", "deb", phase, Ready=text)


def pool(said: str) -> Object:
    template = {"spec": {"blockDeviceRefs": [{"kind": "VirtualDisk", "name": "template"}]}}
    return obj("VirtualMachinePool", "webs", "", spec={"virtualMachineTemplate": template}, Available=said)


WELL = [
    disk("root", "Ready"), disk("data", "Ready", of=""), image("Ready"),
    obj("VirtualMachineClass", "generic", "Ready"), obj("VirtualMachineIPAddress", "fixed", "Bound"),
]  # fmt: skip
WAITS = {"BlockDevicesReady": "Waiting for its disks."}

FAULTS: dict[str, tuple[Object, list[Object], str, str]] = {
    "credentials": (
        vm(**WAITS), [disk(), image("Failed", "The registry answered 401")], "VirtualImage/deb", "credentials"),
    "address": (vm(**WAITS), [disk(), image("Failed", "404 Not Found for x")], "VirtualImage/deb", "address"),
    "page": (
        vm(**WAITS), [disk(), image("Failed", "The file is an HTML page")], "VirtualImage/deb", "something else"),
    "checksum": (disk(), [image("Failed", "sha256 checksum differs")], "VirtualImage/deb", "checksum"),
    "certificate": (disk(), [image("Failed", "certificate verify failed")], "VirtualImage/deb", "caBundle"),
    "loopback": (
        disk(), [image("Failed", "127.0.0.1, a loopback address")], "VirtualImage/deb", "imports.allowed"),
    "name": (disk(), [image("Failed", "cannot resolve images.example")], "VirtualImage/deb", "DNS"),
    "unreachable": (disk(), [image("Failed", "connection refused")], "VirtualImage/deb", "reached"),
    "upload": (disk(), [image("WaitForUserUpload")], "VirtualImage/deb", "send the bytes"),
    "importing": (vm(**WAITS), [disk(), image("Provisioning")], "VirtualImage/deb", ""),
    "image missing": (vm(**WAITS), [disk(of="gone")], "VirtualImage/gone", "create it"),
    "disk missing": (vm(**WAITS), [obj("VirtualDisk", "root", "")], "VirtualDisk/root", ""),
    "disk full": (vm(**WAITS), [disk("data", "Failed", of="", Ready="no space left")], "VirtualDisk/data", "room"),
    "too small": (vm(**WAITS), [disk("root", "Failed", Ready="It is too small")], "VirtualDisk/root", "as large"),
    "class missing": (
        {**vm(VirtualMachineClassReady="no class"), "spec": {"virtualMachineClassName": "nosuch"}}, [],
        "VirtualMachineClass/nosuch", "create it"),
    "address taken": (
        vm(VirtualMachineIPAddressReady="waits"),
        [obj("VirtualMachineIPAddress", "fixed", "Pending", Bound="The address is taken")],
        "VirtualMachineIPAddress/fixed", ""),
    "memory": (vm(Running="not enough memory on any node"), [], "VirtualMachine/web", "less memory"),
    "quota": (vm(Running="exceeded quota: team"), [], "VirtualMachine/web", "quota"),
    "libvirt": (vm("Degraded", Running="libvirt is not reachable"), [], "VirtualMachine/web", "doctor"),
    "boot": (vm("Degraded", Running="No bootable device"), [], "VirtualMachine/web", "attach a disk"),
    "machine of a pool": (
        pool('1 of 2 machines run (1 Pending). VirtualMachine "web": Waiting for its disks.'),
        [vm(**WAITS), disk(), image("Failed", "403 Forbidden")], "VirtualImage/deb", "credentials"),
    "pool": (pool("1 of 2 machines run (1 not made yet). exceeded quota"), [], "VirtualMachinePool/webs", "quota"),
    "operation": (
        obj("VirtualMachineOperation", "op", "Pending", spec={"type": "Start", "virtualMachineName": "web"}),
        [vm(**WAITS), disk(), image("Failed", "403 Forbidden")], "VirtualImage/deb", "credentials"),
}  # fmt: skip


def find_in(objects: list[Object]) -> Any:
    known = {(one["kind"], one["metadata"]["name"]): one for one in [*WELL, *objects]}
    return lambda kind, namespace, name: known.get((kind, name))


@pytest.mark.parametrize("fault", FAULTS)
def test_the_root_of_each_fault_is_named_and_what_mends_it(fault: str) -> None:
    start, objects, root, mend = FAULTS[fault]
    cause = why(start, find_in(objects), lambda _: ())
    roots = list(cause.roots())
    assert [f"{one.kind}/{one.name}" for one in roots] == [root]
    assert mend in roots[0].mend
    assert roots[0].text or roots[0].word
    assert root.partition("/")[2] in "\n".join(told(cause))


def test_what_is_well_or_off_has_nothing_to_mend() -> None:
    for phase in ("Running", "Stopped"):
        assert why(vm(phase), find_in([]), lambda _: ()).well


def test_one_whose_node_is_not_heard_of_says_what_to_do_though_it_ran_last() -> None:
    said = "Node n1 is not heard of. If it is off for certain: kubectl taint node n1 out-of-service"
    lost = vm("Running", Running=said)
    lost["status"]["conditions"][0] |= {"status": "Unknown", "reason": "NodeLost"}
    cause = why(lost, find_in([]), lambda _: ())
    assert not cause.well
    assert list(told(cause)) == [f"vm/shop/web  ✖ NodeLost: {said}"]


def test_a_disk_that_goes_says_who_holds_it() -> None:
    leaving = disk("root", "Ready")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    leaving["status"]["attachedToVirtualMachines"] = [{"name": "web"}]
    cause = why(leaving, find_in([vm("Running")]), lambda _: ())
    assert "web uses it" in cause.text


def test_the_last_warning_speaks_where_no_condition_does() -> None:
    events = [{"type": "Warning", "message": "exceeded quota"}, {"type": "Normal", "message": "x"}]
    cause = why({**vm(), "spec": {}}, find_in([]), lambda _: events)
    assert (cause.text, "quota" in cause.mend) == ("exceeded quota", True)


@pytest.mark.parametrize("said", ["team", ""])
def test_what_is_in_no_namespace_needs_what_is_in_the_one_that_it_says(said: str) -> None:
    source = {"kind": "VirtualImage", "name": "deb", **({"namespace": said} if said else {})}
    copy = obj("ClusterVirtualImage", "deb", "Pending", spec={"dataSource": {"objectRef": source}})
    del copy["metadata"]["namespace"]
    asked: list[tuple[str, str, str]] = []

    def find(kind: str, namespace: str, name: str) -> Object:
        asked.append((kind, namespace, name))
        return image("Ready")

    assert [cause.kind for cause in why(copy, find, lambda _: ()).roots()] == ["ClusterVirtualImage"]
    assert cannot_come(copy, find) == ""
    assert asked == ([("VirtualImage", "team", "deb")] * 2 if said else [])


def test_a_home_whose_objects_name_others_without_end_is_not_asked_without_end() -> None:
    asked: list[str] = []

    def find(kind: str, namespace: str, name: str) -> Object:
        asked.append(name)
        refs = [{"kind": "VirtualDisk", "name": f"{name}-{i}"} for i in range(12)]
        return obj("VirtualDisk", name, "Pending", spec={"refs": refs})

    why(find("VirtualDisk", "", "x"), find, lambda _: ())
    assert len(asked) < 100


@pytest.mark.parametrize("status", [["x"], "x", None])
def test_a_status_that_is_none_is_no_defect_of_ours(status: Any) -> None:
    assert list(told(why({**vm(), "status": status}, find_in([]), lambda _: ())))


def test_a_text_without_end_is_not_searched_without_end() -> None:
    before = time.process_time()
    why(obj("VirtualImage", "deb", "Failed", Ready="storage " * 100_000), find_in([]), lambda _: ())
    assert time.process_time() - before < 5


def test_objects_that_name_each_other_end() -> None:
    one, other = obj("VirtualDisk", "root", "Pending"), obj("VirtualImage", "deb", "Pending")
    one["spec"] = {"objectRef": {"kind": "VirtualImage", "name": "deb"}}
    other["spec"] = {"objectRef": {"kind": "VirtualDisk", "name": "root"}}
    assert [cause.name for cause in why(one, find_in([one, other]), lambda _: ()).roots()] == ["deb"]


def test_text_of_others_is_safe() -> None:
    hostile = obj("VirtualImage", "a\x1b]0;x\x07", "Failed", Ready="\x1b[31m 401")
    assert not any("\x1b" in line or "\x07" in line for line in told(why(hostile, find_in([]), lambda _: ())))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.just("VirtualDisk"),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(("kind", "name", "spec", "objectRef", "virtualMachineName")), inner)
    ),
    max_leaves=8,
)


@given(_JSON)
def test_whatever_a_spec_is_ends(spec: Any) -> None:
    list(told(why({"kind": "VirtualDisk", "metadata": {"name": "x"}, "spec": spec,
                   "status": {"phase": "Failed"}}, find_in([]), lambda _: ())))  # fmt: skip
