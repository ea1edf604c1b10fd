"""A home answers with anything at all, and the terminal interface goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hyperd.client import change, openapi, snapshots
from hyperd.client.aio import AsyncClient
from hyperd.client.home import local
from hyperd.client.operations import OPERATION
from hyperd.errors import NotFound, ServiceUnavailable
from tui import actions, detail, kinds
from tui.action import Target
from tui.described import by_path
from tui.draft import Draft
from tui.fleet import Fleet
from tui.recipe import source
from tui.screens.news import News
from tui.shelf import Key

SHAPELESS: list[dict[str, Any]] = [{}, {"metadata": []}, {"metadata": {}}, {"metadata": {"name": ["x"]}}]


class Answering(AsyncClient):
    """A home of which every answer is the same."""

    answer: dict[str, Any]

    async def _call(self, *_: Any, **__: Any) -> tuple[dict[str, Any], int]:
        return self.answer, 1


@pytest.fixture
async def client() -> AsyncIterator[Answering]:
    made = Answering(local("/nowhere"))
    yield made
    await made.close()


@pytest.mark.parametrize("answer", SHAPELESS)
async def test_what_is_no_object_is_an_error_of_its_home(client: Answering, answer: dict[str, Any]) -> None:
    client.answer = answer
    for asked in (
        client.get(OPERATION, "shop", "x"), client.create(OPERATION, "shop", {}),
        client.patch(OPERATION, "shop", "x", {}),
    ):  # fmt: skip
        with pytest.raises(ServiceUnavailable):
            await asked


@pytest.mark.parametrize("annotations", [["x"], "x", 1, None, {}])
def test_annotations_that_are_none_are_shown_as_they_are(annotations: Any) -> None:
    obj = {"kind": "X", "metadata": {"name": "x", "annotations": annotations}}
    assert change.editable(obj)["metadata"]["name"] == "x"
    assert detail.yaml(obj)


@pytest.mark.parametrize("spec", [None, [], {}, {"type": ["x"]}])
async def test_an_operation_without_a_spec_ends_too(spec: Any) -> None:
    fleet = Fleet([local("/nowhere")], [])
    news, key = News(fleet), Key("hv", "shop", "web-x", "1")
    operation = {"metadata": {"name": "web-x"}, "spec": spec, "status": {"phase": "Completed"}}
    fleet.shelf(OPERATION.plural).put(key, operation)
    assert "done" in await asyncio.wait_for(news.operation_end(key), 5)


ODD: list[Any] = [None, 3, "x", [3, None, {}], {}, {"conditions": 3, "resources": [3, {"kind": []}]},
                  {"blockDeviceRefs": [3, {"kind": "VirtualDisk", "name": []}], "provisioning": 3},
                  {"blockDeviceRef": 3, "dataSource": {"type": "HTTP", "http": 3}}]  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
def test_snapshots_machines_and_disks_of_any_shape_are_listed_and_offered(odd: Any) -> None:
    known = kinds.load()
    acts = actions.load(known)
    for plural in ("virtualmachines", "virtualdisks", "virtualmachinesnapshots", "virtualdisksnapshots"):
        kind = known[plural]
        metadata = {"name": "x", "ownerReferences": odd}
        obj = {"kind": "VirtualMachineSnapshot", "metadata": metadata, "spec": odd, "status": odd}
        key = Key("hv", "shop", "x", "1")
        for each in acts:
            each.why_not(kind, Target(kind, key, obj))
        for field in kind.fields:
            field.get(obj)
        assert list(kind.relations(obj)) is not None
        kind.uses(obj)
        snapshots.results(obj)
        snapshots.parts_of_machine(obj, [obj])
        snapshots.lost(obj, obj, since="1m")
        source(obj)
        assert Draft([obj]).text


@pytest.mark.parametrize("odd", [None, 3, "x", [], {"required": 3}, {"enum": 3, "type": []}, {"properties": [3]}])
def test_a_schema_of_any_shape_is_described_as_far_as_it_goes(odd: Any) -> None:
    schemas = {"a": odd, "b": {"x-kubernetes-group-version-kind": odd}}
    schema = {"properties": {"spec": {"properties": {"x": odd, "y": {"type": "string"}}, "required": odd}}}
    assert "spec.y" in by_path(schema, schemas)
    assert openapi.schemas_of({"components": odd}) == {}
    with pytest.raises(NotFound):
        openapi.schema_of(schemas, OPERATION)
