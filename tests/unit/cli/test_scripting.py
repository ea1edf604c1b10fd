"""What a script may rely on: exit codes, columns that stay, stdout that holds what was asked for and no more."""

from __future__ import annotations

import argparse
from typing import Any

import pytest
import yaml

from hyperd.cli import create, explain, formats, top
from hyperd.client import change
from hyperd.client.home import local
from hyperd.client.kinds import built_in
from hyperd.client.sync import Client
from hyperd.errors import ServiceUnavailable
from tests.tui.world import World, machine
from tests.unit.cli.conftest import Hv

SECRET: dict[str, Any] = {
    "kind": "Secret",
    "metadata": {"name": "s"},
    "data": {"same": "b2xk", "other": "b2xk", "gone": "eA=="},
}


def test_several_values_of_a_column_are_one_word() -> None:
    item = {"metadata": {"name": "a"}, "disks": [{"name": "x"}, {"name": "y"}]}
    text = formats.render("custom-columns=N:.metadata.name,D:.disks[*].name", item, header=False)
    assert text.split() == ["a", "x,y"]


def test_a_line_of_top_has_a_word_for_every_column() -> None:
    args = argparse.Namespace(sort_by="cpu", all_namespaces=True, no_headers=True)
    (line,) = top._table({}, {("shop", "new"): {"cpu": {"cores": 1}}}, args, nodes=False)
    assert len(line.split()) == 12  # of what has just begun, CPU and node are not known
    assert line.split()[:4] == ["shop", "new", "-", "-"]


def test_values_of_a_secret_are_not_shown_where_they_are_compared() -> None:
    new = {**SECRET, "data": {"same": "b2xk", "other": "bmV3"}}
    before, after = change.veiled(SECRET, new)
    assert before is not None
    assert before["data"] == {"same": "***", "other": "*** (before)", "gone": "*** (before)"}
    assert after["data"] == {"same": "***", "other": "*** (after)"}
    assert change.veiled(None, new)[1]["data"]["same"] == "*** (after)"
    assert new["data"]["other"] == "bmV3"


async def test_a_diff_shows_no_secret_and_says_2_for_what_is_no_difference(hv: Hv) -> None:
    manifest = {
        "apiVersion": "v1",
        **SECRET,
        "metadata": {"name": "s", "namespace": "shop"},
        "data": {"k": "b2xk"},
    }
    shown = await hv("diff", "-f", "-", stdin=yaml.safe_dump(manifest), code=1)
    assert "b2xk" not in shown.out
    assert "*** (after)" in shown.out
    await hv("diff", "-f", "/nowhere/at/all", code=2)


async def test_named_objects_are_sorted_too(hv: Hv, world: World) -> None:
    for name, size in (("large", "16Gi"), ("small", "512Mi")):
        await world.add("virtualmachines", machine(name, memory={"size": size}))
    found = await hv("get", "vm", "large", "small", "-n", "shop", "--sort-by", ".spec.memory.size", "-o", "name")
    assert found.out.split() == ["virtualmachine/small", "virtualmachine/large"]


async def test_objects_on_stdout_are_all_that_is_there(hv: Hv, world: World) -> None:
    alarm = {"type": "Maintenance", "status": "True", "reason": "Maintenance", "message": "a\x1b[31m"}
    alarm["lastTransitionTime"] = "2026-01-01T00:00:00Z"
    told = {"phase": "Stopped", "conditions": [alarm]}
    await world.add("virtualmachines", machine("still", runPolicy="Manual"), told)
    manifest = yaml.safe_dump(machine("still", runPolicy="Manual"))
    applied = await hv("apply", "-f", "-", "--wait", "-o", "yaml", stdin=manifest)
    assert yaml.safe_load(applied.out)["metadata"]["name"] == "still"
    assert "Stopped" in applied.err
    assert "\x1b" not in applied.err + (await hv("apply", "-f", "-", "--wait", stdin=manifest)).out


@pytest.mark.parametrize("words", [("delete", "vm", "-l", "app=none"), ("label", "vm", "-l", "app=none", "a=b")])
async def test_what_was_done_to_nothing_is_said(hv: Hv, words: tuple[str, ...]) -> None:
    done = await hv(*words, "-n", "shop")
    assert (done.out, len(done.err.splitlines())) == ("", 1)


def test_what_could_not_be_undone_is_named() -> None:
    class Away(Client):
        def delete(self, *_: Any, **__: Any) -> Any:
            raise ServiceUnavailable("The home is away.")

    disk = next(one for one in built_in() if one.plural == "virtualdisks")
    left = create._undo(Away(local("/nowhere")), [(disk, "shop", {"metadata": {"name": "web-root"}})])
    assert "virtualdisk/web-root" in left


def test_a_schema_that_is_in_itself_is_told_once() -> None:
    fields = {name: {"$ref": "#/components/schemas/A"} for name in "abcdefgh"}
    schemas = {"A": {"type": "object", "properties": fields}}
    lines = list(explain._fields(schemas["A"], schemas, "", recursive=True, above=()))
    assert lines == [f"{name} <object>" for name in "abcdefgh"]


@pytest.mark.parametrize("words", [("vm/db-1", "web-7"), ("vm", "db-1", "vm/web-7")])
async def test_nothing_is_deleted_whose_kind_would_be_guessed(
    hv: Hv, world: World, words: tuple[str, ...]
) -> None:
    assert "kind/name" in (await hv("delete", *words, "-n", "shop", code=1)).err
    assert {"db-1", "web-7"} <= set(await world.names("virtualmachines"))
