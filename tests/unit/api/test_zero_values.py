"""Typed clients of Go write every field that has no ``omitempty``: a zero where they mean nothing.

A status is the server's, so whatever stands there when an object is created or updated is let go before anything
is judged; and what stands beside a status when that alone is written is let go as well. Every kind, every shape.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hyperd.api.wire import routes
from hyperd.resources.all import KINDS
from hyperd.resources.schema.kind import Kind, Object
from tests.unit.api.conftest import serving
from tests.unit.resources.samples import examples

ZEROS: dict[str, Any] = {"string": "", "integer": 0, "number": 0.0, "boolean": False, "array": None}


def zero(schema: Object) -> Any:
    """What Go makes of a struct of this schema that nobody has filled in."""
    if "properties" in schema:
        return {name: zero(part) for name, part in schema["properties"].items()}
    return ZEROS.get(schema.get("type", ""))


def each_zero(schema: Object) -> Iterator[Object]:
    """Objects of this schema with one field alone, which is a zero of some sort."""
    for name, part in schema.get("properties", {}).items():
        values: tuple[Any, ...] = (zero(part), None, {}, [], "", 0, False)
        for value in values:
            yield {name: value}


def cases() -> Iterator[tuple[Kind, Object]]:
    """Each kind in each version, with an object that is accepted."""
    by_kind = {obj["kind"]: obj for obj in examples()}
    for kind in KINDS:
        if kind.core:
            continue
        yield kind, by_kind[kind.kind]
        for more in KINDS.more_versions(kind):
            converted = more.from_storage(copy.deepcopy(by_kind[kind.kind]))
            yield more.kind, {**converted, "apiVersion": more.kind.api_version}


async def test_a_status_of_zeros_stands_in_nobodys_way(folder: Path) -> None:
    async with serving(folder, admission=False, audit={"level": "off"}) as api:
        for number, (kind, example) in enumerate(cases()):
            obj = copy.deepcopy(example)
            obj["metadata"] = {"name": f"zero{number}", "creationTimestamp": None, "labels": None}
            schema = kind.schema["properties"]["status"]
            where = f"{routes.prefix(kind)}{'/namespaces/default' if kind.namespaced else ''}/{kind.plural}"
            statuses = [zero(schema), None, "", 0, [], {}, *each_zero(schema)]
            for status in statuses:
                code, answer = await api.call("POST", f"{where}?dryRun=All", {**obj, "status": status})
                assert code == 201, (kind.api_version, status, answer)
                assert not answer.get("status")
            code, made = await api.call("POST", where, {**obj, "status": zero(schema)})
            assert code == 201
            for status in statuses:
                path = f"{where}/zero{number}?dryRun=All"
                code, answer = await api.call("PUT", path, {**made, "status": status})
                assert code == 200, (kind.api_version, status, answer)
                assert answer.get("status") == made.get("status")
            if "status" not in kind.subresources:
                continue
            specs: tuple[Any, ...] = (zero(kind.schema["properties"].get("spec", {})), None, {}, [])
            for spec in specs:
                code, answer = await api.call("PUT", f"{where}/zero{number}/status", {**made, "spec": spec})
                assert code == 200, (kind.api_version, spec, answer)
                assert answer.get("spec") == made.get("spec")
