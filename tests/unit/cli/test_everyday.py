"""What kubectl's users reach for: templates, sorting, edit, patch, label, annotate, wait, diff, explain."""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hyperd.cli import editing, formats, wait, why
from hyperd.client import change, kinds
from hyperd.client.home import local
from hyperd.client.resource import Resource
from hyperd.client.sync import Client
from hyperd.errors import BadRequest
from hyperd.resources.all import VIRTUAL_MACHINE
from tests.tui.world import World, machine
from tests.unit.cli.conftest import Hv

LIST = {"items": [
    {"metadata": {"name": "a"}, "status": {"ip": "10.0.0.2"}, "size": "22Mi"},
    {"metadata": {"name": "b\x1b[31m"}, "size": "1Gi"},
]}  # fmt: skip


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{.items[0].metadata.name}", "a"),
        (".items[*].size", "22Mi 1Gi"),
        ('{range .items[*]}{.metadata.name}{"\\t"}{.size}{"\\n"}{end}', "a\t22Mi\nb␛[31m\t1Gi\n"),
        ("n: {$.items[?(@.size=='1Gi')].metadata.name}", "n: b␛[31m"),
        ("{.items[0].metadata}", '{"name":"a"}'),
        ("{.nothing}", ""),
    ],
)
def test_a_jsonpath_template_is_filled_and_safe(template: str, text: str) -> None:
    assert formats.render(f"jsonpath={template}", LIST) == text


@pytest.mark.parametrize(
    "template", ["{.a", "{range .a}", "{end}", "{.a[}", "{.a, .b}", "{.a .b}", '{"a}', "{.a[?(]}"]
)
def test_what_is_no_template_is_said(template: str) -> None:
    with pytest.raises(BadRequest, match="JSONPath"):
        formats.render(f"jsonpath={template}", LIST)


def test_custom_columns_are_aligned_and_say_what_is_none() -> None:
    text = formats.render("custom-columns=NAME:.metadata.name,IP:.status.ip", LIST)
    assert text.splitlines() == ["NAME     IP", "a        10.0.0.2", "b␛[31m   <none>"]


async def test_lists_are_sorted_by_a_path_as_what_it_is(hv: Hv, world: World) -> None:
    for name, size in (("small", "512Mi"), ("large", "16Gi")):
        await world.add("virtualmachines", machine(name, memory={"size": size}))
    found = await hv("get", "vm", "-n", "shop", "--sort-by", ".spec.memory.size", "--no-headers")
    names = [line.split()[0] for line in found.out.splitlines()]
    assert (names[0], names[-1]) == ("small", "large")
    found = await hv(
        "get", "vm", "-n", "shop", "--sort-by", ".spec.memory.size", "-o", "jsonpath={.items[*].metadata.name}"
    )
    assert found.out.split()[0] == "small"
    await hv("get", "vm", "-o", "csv", code=2)


async def test_labels_are_set_taken_off_and_not_replaced_unasked(hv: Hv) -> None:
    await hv("label", "vm", "web-7", "web-8", "app=web", "tier=front", "-n", "shop")
    refused = await hv("label", "vm/web-7", "app=db", "-n", "shop", code=1)
    assert "--overwrite" in refused.err
    await hv("label", "vm", "-l", "app=web", "app=db", "tier-", "--overwrite", "-n", "shop")
    found = await hv("get", "vm", "-l", "app=db", "-n", "shop", "-o", "jsonpath={.items[*].metadata.labels}")
    assert found.out == '{"app":"db"} {"app":"db"}'
    await hv("annotate", "vm/web-7", "owner=ops", "-n", "shop")
    found = await hv("get", "vm/web-7", "-n", "shop", "-o", "jsonpath={.metadata.annotations.owner}")
    assert found.out == "ops"
    await hv("label", "vm", "web-7", "-n", "shop", code=1)


async def test_a_patch_is_json_or_yaml(hv: Hv) -> None:
    await hv("patch", "vm", "web-7", "-n", "shop", "-p", "spec: {memory: {size: 4Gi}}")
    operation = json.dumps([{"op": "replace", "path": "/spec/cpu/cores", "value": 3}])
    await hv("patch", "vm/web-7", "-n", "shop", "--type", "json", "-p", operation)
    await hv("patch", "vm/web-7", "-n", "shop", "-p", "spec: {memory: {size: 8Gi}}", "--dry-run")
    found = await hv("get", "vm/web-7", "-n", "shop", "-o", "jsonpath={.spec.memory.size} {.spec.cpu.cores}")
    assert found.out == "4Gi 3"
    await hv("patch", "vm/web-7", "-n", "shop", "-p", "[", code=1)


async def test_edit_shows_what_it_writes_and_leaves_the_rest(hv: Hv, tmp_path: Path) -> None:
    hv.env.update(EDITOR="sed -i s/2Gi/4Gi/", TMPDIR=str(tmp_path))
    shown = await hv("edit", "vm", "web-7", "-n", "shop")
    assert [line.strip() for line in shown.out.splitlines()][:3] == ["spec.memory.size", "- 2Gi", "+ 4Gi"]
    found = await hv("get", "vm/web-7", "-n", "shop", "-o", "jsonpath={.spec.memory.size}")
    assert found.out == "4Gi"
    hv.env["EDITOR"] = "true"
    assert "not changed" in (await hv("edit", "vm/web-7", "-n", "shop")).out
    hv.env["EDITOR"] = "false"
    assert "ended with 1" in (await hv("edit", "vm/web-7", "-n", "shop", code=1)).err
    hv.env["EDITOR"] = "sed -i s/memory:/memry:/"
    refused = await hv("edit", "vm/web-7", "-n", "shop", code=1)
    assert "memry" in refused.err
    assert len(refused.err) < 400


def kept_in(folder: Path) -> list[str]:
    """What edits that came to nothing left, for their owner alone."""
    paths = list(folder.glob("hv-edit-*"))
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in paths)
    return [path.read_text() for path in paths]


@pytest.mark.parametrize(
    ("editor", "said"),
    [
        ("sed -i 's/2Gi/[/'", "no YAML"),
        ("sed -i s/memory:/memry:/", "memry"),
        ("sh -c 'sed -i s/2Gi/4Gi/ $0; exit 3'", "ended with 3"),
    ],
)
async def test_an_edit_that_comes_to_nothing_is_kept_for_its_owner(
    hv: Hv, tmp_path: Path, editor: str, said: str
) -> None:
    hv.env.update(EDITOR=editor, TMPDIR=str(tmp_path))
    refused = await hv("edit", "vm/web-7", "-n", "shop", code=1)
    assert said in refused.err
    assert f"kept in {tmp_path}/hv-edit-" in refused.err
    (text,) = kept_in(tmp_path)
    assert "name: web-7" in text
    assert "2Gi" not in text or "memry" in text


async def test_ctrl_c_is_the_editors_and_what_says_the_same_is_not_written(hv: Hv, tmp_path: Path) -> None:
    script = tmp_path / "editor"
    script.write_text("sed -i s/2Gi/4Gi/ $1; echo >> $1; kill -INT $PPID; sleep 0.5\n")
    hv.env.update(EDITOR=f"sh {script}", TMPDIR=str(tmp_path))
    assert "edited" in (await hv("edit", "vm/web-7", "-n", "shop")).out
    script.write_text("echo >> $1\n")
    assert (await hv("edit", "vm/web-7", "-n", "shop")).out == "virtualmachine/web-7 not changed\n"
    assert kept_in(tmp_path) == []


class Busy(Client):
    """One whose first write comes a moment after somebody else's."""

    written = False

    def patch(self, resource: Resource, namespace: str | None, name: str, patch: Any, **how: Any) -> Any:
        if not (self.written or how.get("dry_run")):
            self.written = True
            super().patch(resource, namespace, name, {"metadata": {"annotations": {"other": "wrote"}}})
        return super().patch(resource, namespace, name, patch, **how)


async def test_an_edit_is_written_although_somebody_writes_at_the_same_moment(world: World) -> None:
    client = Busy(local(str(world.settings.socket_path), namespace="shop"))
    resource = kinds.resolve("vm", client)[0]

    def edit() -> None:
        live = client.get(resource, "shop", "web-7")
        wanted = change.editable(live)
        wanted = {**wanted, "spec": {**wanted["spec"], "memory": {"size": "4Gi"}}}
        editing._write(argparse.Namespace(dry_run=False), client, resource, live, wanted)

    await asyncio.to_thread(edit)
    stored = (await world.store.get(VIRTUAL_MACHINE, "shop", "web-7")).object()
    assert stored["spec"]["memory"]["size"] == "4Gi"
    assert stored["metadata"]["annotations"]["other"] == "wrote"


async def test_an_edit_is_laid_over_what_others_wrote_meanwhile_unless_it_is_the_same_field(
    hv: Hv, world: World, tmp_path: Path
) -> None:
    script = tmp_path / "editor"
    hv.env.update(EDITOR=f"sh {script}", TMPDIR=str(tmp_path))
    other = f"{hv_of(hv)} patch vm/web-7 -n shop -p 'spec: {{cpu: {{cores: 7}}}}' >/dev/null"
    script.write_text(f"{other}\nsed -i s/2Gi/4Gi/ $1\n")
    await hv("edit", "vm/web-7", "-n", "shop")
    found = await hv("get", "vm/web-7", "-n", "shop", "-o", "jsonpath={.spec.memory.size} {.spec.cpu.cores}")
    assert found.out == "4Gi 7"
    script.write_text(f"{other.replace('cores: 7', 'cores: 5')}\nsed -i 's/cores: 7/cores: 6/' $1\n")
    refused = await hv("edit", "vm/web-7", "-n", "shop", code=1)
    assert "spec.cpu.cores" in refused.err
    assert "cores: 6" in kept_in(tmp_path)[0]


def hv_of(hv: Hv) -> str:
    import sys

    return f"{sys.executable} -m hyperd.cli.main"


async def test_diff_tells_by_its_exit_code(hv: Hv) -> None:
    manifest = machine("web-7")
    assert (await hv("diff", "-f", "-", stdin=yaml.safe_dump(manifest))).out == ""
    manifest["spec"]["memory"]["size"] = "4Gi"
    shown = await hv("diff", "-f", "-", stdin=yaml.safe_dump(manifest), code=1)
    assert "-    size: 2Gi" in shown.out.splitlines()
    assert "+    size: 4Gi" in shown.out.splitlines()
    manifest["spec"]["memory"]["size"] = "much"
    assert "memory" in (await hv("diff", "-f", "-", stdin=yaml.safe_dump(manifest), code=2)).err
    new = machine("brand-new")
    assert "+  name: brand-new" in (await hv("diff", "-f", "-", stdin=yaml.safe_dump(new), code=1)).out


async def test_wait_ends_when_it_is_so_or_fails_in_time(hv: Hv, world: World) -> None:
    await hv("wait", "vm/web-7", "-n", "shop")
    await hv("wait", "vm", "web-7", "--for=condition=Running", "-n", "shop")
    await hv("wait", "vm/web-7", "--for=jsonpath={.status.ipAddress}=10.66.10.7", "-n", "shop")
    late = await hv("wait", "vm/db-1", "-n", "shop", "-t", "1s", code=1)
    assert "db-1 is not Running in time: Stopped" in late.err
    await hv("wait", "vm/db-1", "--for=nonsense", "-n", "shop", code=1)
    mistyped = await hv("wait", "vm/web-77", "-n", "shop", code=1)
    assert mistyped.err == "hv: There is no VirtualMachine web-77; --for=create waits for one.\n"
    await hv("wait", "vm/web-77", "--for=delete", "-n", "shop")
    waiting = asyncio.create_task(hv("wait", "vm/db-1", "--for=delete", "-n", "shop"))
    await asyncio.sleep(1)
    await world.remove("virtualmachines", "shop", "db-1")
    assert "deleted" in (await waiting).out


@pytest.mark.parametrize(
    ("wanted", "met"),
    [
        ("condition=ready=true", True), ("condition=Ready=False", False), ("jsonpath={.spec.on}=true", True),
        ("jsonpath={.spec.on}=True", False), ("jsonpath={.spec.cores}=2", True), ("phase=Attached", True),
    ],
)  # fmt: skip
def test_what_is_waited_for_is_said_as_kubectl_takes_it(wanted: str, met: bool) -> None:
    obj = {
        "kind": "VirtualMachineBlockDeviceAttachment", "spec": {"on": True, "cores": 2},
        "status": {"phase": "Attached", "conditions": [{"type": "Ready", "status": "True"}]},
    }  # fmt: skip
    assert wait._test(wanted)[0](obj) is met


async def test_what_is_attached_is_waited_for_no_more_and_a_daemon_that_comes_again_is(
    hv: Hv, world: World
) -> None:
    address = {
        "apiVersion": "virtualization.deckhouse.io/v1alpha2", "kind": "VirtualMachineIPAddress",
        "metadata": {"name": "fixed", "namespace": "shop"}, "spec": {"type": "Auto"},
    }  # fmt: skip
    await world.add("virtualmachineipaddresses", address, {"phase": "Attached"})
    await hv("wait", "vmip/fixed", "-n", "shop", "-t", "2s")
    waiting = asyncio.create_task(hv("wait", "vm/db-1", "--for=delete", "-n", "shop", "-t", "30s"))
    await asyncio.sleep(1)
    await world.stop()
    await asyncio.sleep(1)
    await world.start()
    await world.remove("virtualmachines", "shop", "db-1")
    assert "deleted" in (await waiting).out


async def test_explain_tells_a_field_its_type_and_what_it_takes(hv: Hv) -> None:
    text = (await hv("explain", "vm.spec.cpu")).out
    assert "FIELD:    spec.cpu <object>  required" in text
    assert "coreFraction" in text
    assert "UserDataRef" in (await hv("explain", "vm.spec.provisioning.type")).out
    assert "      sha256 <string>" in (await hv("explain", "vd.spec.dataSource", "--recursive")).out
    assert "no field memry" in (await hv("explain", "vm.spec.memry", code=1)).err


_OBJECTS = st.recursive(
    st.booleans() | st.integers(0, 3) | st.sampled_from("abc"),
    lambda inner: st.dictionaries(st.sampled_from("xyz"), inner, max_size=3) | st.lists(inner, max_size=2),
    max_leaves=8,
)
_SPECS = st.dictionaries(st.sampled_from("xyz"), _OBJECTS, max_size=3)


def merged(obj: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    found = dict(obj) if isinstance(obj, dict) else {}
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merged(found.get(key), value)
    return found


@given(_SPECS, _SPECS)
def test_a_patch_makes_the_one_of_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert merged(before, change.patch_of(before, after)) == after
    assert bool(list(change.differences(before, after))) == (before != after)


@given(_SPECS, _SPECS, _SPECS)
def test_what_does_not_conflict_keeps_both_changes(
    original: dict[str, Any], mine: dict[str, Any], theirs: dict[str, Any]
) -> None:
    if not change.conflicts(original, mine, theirs):
        both = merged(theirs, change.patch_of(original, mine))
        assert both == merged(mine, change.patch_of(original, theirs))


async def test_why_of_all_asks_for_no_object_that_its_lists_gave(world: World) -> None:
    class Listing(Client):
        def get(self, resource: Resource, namespace: str | None, name: str) -> Any:
            raise AssertionError(f"{name} is asked for again, and may be gone meanwhile")

    client = Listing(local(str(world.settings.socket_path), namespace="shop"))
    args = argparse.Namespace(words=[], all_namespaces=False)
    found = await asyncio.to_thread(lambda: list(why._chosen(client, args)))
    assert "web-7" in [one["metadata"]["name"] for one in found if one["kind"] == "VirtualMachine"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("2Gi", "2Gi"),
        (True, "true"),
        (2, "2"),
        ({"name": "web-data", "size": "1ü"}, '{"name": "web-data", "size": "1ü"}'),
        ([], "[]"),
    ],
)
def test_what_differs_is_told_as_it_stands_in_yaml(value: object, text: str) -> None:
    assert change.text_of(value) == text
