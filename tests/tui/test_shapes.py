"""A home answers with anything at all, and the terminal interface goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hyperd.client import change
from hyperd.client.aio import AsyncClient
from hyperd.client.home import local
from hyperd.client.operations import OPERATION
from hyperd.errors import ServiceUnavailable
from tui import detail
from tui.fleet import Fleet
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
