"""The HTTP grammar of the embedded home against a real kube-apiserver: same status, reason, words and content."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import orjson
import pytest
import yaml
from yarl import URL

from hyperd.resources.all import KINDS
from hyperd.resources.crd import crd
from tests.cluster.controlplane.plane import Cluster
from tests.cluster.grammar import CLASSES, CM, EXPLAINED, VM, Ask, core_refusals, reads, writes
from tests.unit.api.conftest import folder, machine, serving

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
__all__ = ["folder"]
_AT_ONCE = 8


class Answer(NamedTuple):
    status: int
    content_type: str
    body: bytes
    warnings: list[str]


@dataclass
class Side:
    """One of the two servers, filled with the same objects."""

    session: aiohttp.ClientSession
    url: str
    names: dict[str, str] = field(default_factory=dict)

    async def send(self, ask: Ask) -> Answer:
        path = ask.path
        for name, value in self.names.items():
            path = path.replace("{" + name + "}", value)
        data = None if ask.body is None else orjson.dumps(ask.body)
        headers = ({} if data is None else {"Content-Type": "application/json"}) | ask.headers
        url = URL(self.url + path, encoded=True)
        async with self.session.request(ask.method, url, data=data, headers=headers) as response:
            warned = response.headers.getall("Warning", [])
            return Answer(response.status, response.content_type, await response.read(), sorted(warned))

    async def fill(self) -> None:
        """A namespace with five objects of two kinds, and what stands for versions and tokens."""
        await self.send(Ask("DELETE", CM))
        await self.send(Ask("DELETE", VM))
        # One that another test stored could not be shown in v1alpha3: nobody converts here.
        await self.send(Ask("DELETE", CLASSES))
        await self.send(Ask("POST", "/api/v1/namespaces", {"metadata": {"name": "grammar"}}))
        for index in range(5):
            labels = {"odd": str(index % 2), "n": str(index)}
            body = {"metadata": {"name": f"m{index}", "labels": labels}, "data": {"k": "v"}}
            made = await self.send(Ask("POST", CM, body))
            assert made.status == 201, made
            self.names["last"] = orjson.loads(made.body)["metadata"]["resourceVersion"]
            self.names.setdefault("old", self.names["last"])
            made = await self.send(Ask("POST", VM, machine(f"v{index}", labels=labels)))
            assert made.status == 201, made
        page = await self.send(Ask("GET", f"{CM}?limit=2&fieldSelector=metadata.name!%3Dx"))
        metadata = orjson.loads(page.body)["metadata"]
        self.names |= {"rv": metadata["resourceVersion"], "token": metadata["continue"]}
        self.names["future"] = str(int(metadata["resourceVersion"]) + 1_000_000)

    def words(self, text: str) -> str:
        """A sentence without what differs from server to server."""
        for name, value in self.names.items():
            text = text.replace(value, "{" + name + "}")
        text = re.sub(r"current: \d+", "current: N", text)
        return re.sub(r"UID in object meta: [0-9a-f-]+|ResourceVersion in object meta: \d+", "…", text)


@asynccontextmanager
async def both(cluster: Cluster, folder: Path) -> AsyncIterator[tuple[Side, Side]]:
    """(ours, the real one)."""
    cluster.apply(*(crd(kind) for kind in KINDS if not kind.core))
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    home, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    context = ssl.create_default_context(cafile=home["certificate-authority"])
    context.load_cert_chain(user["client-certificate"], user["client-key"])
    connector = aiohttp.TCPConnector(ssl=context)
    async with serving(folder, admission=False) as api, aiohttp.ClientSession(connector=connector) as session:
        sides = Side(api.client, "http://h"), Side(session, home["server"])
        for side in sides:
            await side.fill()
        yield sides


def _meaning(side: Side, ask: Ask, answer: Answer) -> Any:
    """What a client gets to know: for refusals the reason and, about options, the sentence; else the content."""
    return answer.warnings, _content(side, ask, answer)


def _content(side: Side, ask: Ask, answer: Answer) -> Any:
    status, content_type, body, _ = answer
    if status in (404, 406):
        # The real one may say so in plain text, or in YAML.
        return status
    if content_type != "application/json" or not body:
        return status, content_type
    value = orjson.loads(body)
    if value.get("kind") == "Status":
        details = value.get("details") or {}
        causes = sorted((cause["reason"], cause.get("field", "")) for cause in details.get("causes") or ())
        said = side.words(value.get("message", "")) if "meta.k8s.io" in value.get("message", "") else ""
        return status, value["status"], value.get("reason"), causes, said
    items = value.get("items", value.get("rows"))
    if "Discovery" in value.get("kind", "") or ("/api" in ask.path and "namespaces" not in ask.path):
        items = None
    if items is None:
        return status, value.get("kind"), value.get("versions"), value.get("preferredVersion")
    metadata = value["metadata"]
    names = [(one.get("metadata") or (one.get("object") or {}).get("metadata") or {}).get("name") for one in items]
    shapes = sorted(
        {tuple(sorted(key for key in one if one[key] and key not in ("apiVersion", "kind"))) for one in items}
    )
    paged = bool(metadata.get("continue")), metadata.get("remainingItemCount")
    return status, value["kind"], value["apiVersion"], names, shapes, paged


async def _differences(sides: tuple[Side, Side], asks: Iterable[Ask]) -> list[str]:
    gate = asyncio.Semaphore(_AT_ONCE)

    async def compare(ask: Ask) -> str:
        async with gate:
            ours, real = [_meaning(side, ask, await side.send(ask)) for side in sides]
        return "" if ours == real else f"{ask.method} {ask.path} {ask.headers or ''}\n  ours {ours}\n  real {real}"

    return [difference for difference in await asyncio.gather(*map(compare, asks)) if difference]


async def test_reads_are_answered_alike(cluster: Cluster, folder: Path) -> None:
    async with both(cluster, folder) as sides:
        assert not (found := await _differences(sides, reads())), "\n".join(found)


async def test_refusals_and_rehearsals_are_answered_alike(cluster: Cluster, folder: Path) -> None:
    async with both(cluster, folder) as sides:
        assert not (found := await _differences(sides, writes(machine("v1")))), "\n".join(found)
        for side in sides:
            listed = await side.send(Ask("GET", CM))
            names = [one["metadata"]["name"] for one in orjson.loads(listed.body)["items"]]
            assert [name for name in names if name.startswith("m")] == [f"m{index}" for index in range(5)]


async def test_core_kinds_that_mean_nothing_are_refused_alike(cluster: Cluster, folder: Path) -> None:
    async with both(cluster, folder) as sides:
        assert not (found := await _differences(sides, core_refusals())), "\n".join(found)


async def test_where_they_differ_there_is_a_reason(cluster: Cluster, folder: Path) -> None:
    async with both(cluster, folder) as (ours, real):
        for ask, our_status, real_status, why in EXPLAINED:
            query = "&" if "?" in ask.path else "?"
            limited = Ask(ask.method, f"{ask.path}{query}timeoutSeconds=1", ask.body, ask.headers)
            assert (await ours.send(limited)).status == our_status, why
            assert (await real.send(limited)).status == real_status, why


async def test_watches_show_the_same_events(cluster: Cluster, folder: Path) -> None:
    # Without bookmarks and sendInitialEvents: a kube-apiserver serves them only over a newer etcd than Debian's.
    seen: list[list[list[tuple[str, str]]]] = []
    async with both(cluster, folder) as sides:
        queries = [
            "resourceVersion={old}", "resourceVersion={rv}", "resourceVersion=0",
            "resourceVersion={old}&labelSelector=odd%3D1", "resourceVersion=0&fieldSelector=metadata.name%3Dm3",
        ]  # fmt: skip

        async def events(side: Side, query: str) -> list[tuple[str, str]]:
            answer = await side.send(Ask("GET", f"{CM}?watch=True&timeoutSeconds=2&{query}"))
            lines = [orjson.loads(line) for line in answer.body.splitlines()]
            return sorted(
                (event["type"], event["object"]["metadata"].get("name", ""))
                for event in lines
                if event["type"] != "BOOKMARK"
            )

        for side in sides:
            found = await asyncio.gather(*(events(side, query) for query in queries))
            seen.append(found)
        assert seen[0] == seen[1]
