"""What `examples/` holds is taken as it is, by schema and rules, and names nothing that is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.admission.world import GROUP, World

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "examples").rglob("*.yaml"))


def objects(file: Path) -> list[dict[str, Any]]:
    return [obj for obj in yaml.safe_load_all(file.read_text()) if obj]


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
async def test_an_example_is_admitted_object_by_object(file: Path) -> None:
    generic = {"apiVersion": f"{GROUP}/v1alpha2", "kind": "VirtualMachineClass", "metadata": {"name": "generic"}}
    world = World([{**generic, "spec": {"cpu": {"type": "Host"}}}])
    for obj in objects(file):
        if obj["apiVersion"].startswith(GROUP):
            answer = await world.create(obj)
            assert not answer.causes, answer.causes
            assert not answer.warnings
            assert answer.object is not None
            world.objects.append(answer.object)


def test_what_an_example_refers_to_is_in_the_examples() -> None:
    every = [obj for file in EXAMPLES for obj in objects(file)]
    there = {(obj["kind"], obj["metadata"]["name"]) for obj in every}
    for obj in every:
        spec = obj.get("spec", {})
        source = spec.get("dataSource", {}).get("objectRef") if isinstance(spec.get("dataSource"), dict) else None
        for ref in (*spec.get("blockDeviceRefs", ()), *([source] if source else ())):
            assert (ref["kind"], ref["name"]) in there
