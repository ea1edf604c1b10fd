"""The asynchronous client of the TUI, over aiohttp.

Importing this module costs 100 ms of CPU: the TUI imports it in a thread, after its first frame.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp

from hyperd.client import failure, kinds, paths
from hyperd.client.home import Home
from hyperd.client.http1 import MAX_BODY, MAX_WEIGHT, weight
from hyperd.client.resource import Resource
from hyperd.client.ssh import unanswered
from hyperd.client.sync import MERGE_PATCH, TABLE
from hyperd.client.tunnel import Tunnelled
from hyperd.client.websocket import SUBPROTOCOL
from hyperd.client.words import warning
from hyperd.errors import BadRequest, Conflict, HyperdError, ServiceUnavailable, Timeout

Object = dict[str, Any]

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 10.0
PING_SECONDS = 4.0
SILENCE_SECONDS = 90.0
"""A watch gets a bookmark every 30 s; three missed ones mean that the connection is dead."""

_READ_LIMIT = 8 << 20


class Printed(NamedTuple):
    """A list in the server's own columns: their definitions, and each object with its cells."""

    columns: list[Object]
    rows: list[tuple[Object, list[object]]]


class AsyncClient:
    """Requests to one home. Refusals and failures to reach it raise the errors of ``hyperd.errors``."""

    def __init__(self, home: Home) -> None:
        self.home = home
        if home.socket:
            connector: aiohttp.BaseConnector = (
                Tunnelled(home) if home.ssh else aiohttp.UnixConnector(home.socket, limit=0)
            )
            base = "http://hyperd"
        else:
            connector = aiohttp.TCPConnector(limit=0, ssl=_tls(home))
            host = f"[{home.host}]" if ":" in home.host else home.host
            base = f"{'https' if home.tls else 'http'}://{host}:{home.port}{home.prefix}"
        self._base = base
        # Unpacked, a small answer may be of any size.
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "hv-tui/0.1"}
        if home.token:
            headers["Authorization"] = f"Bearer {home.token}"
        self._session = aiohttp.ClientSession(
            connector=connector, headers=headers, read_bufsize=1 << 18, auto_decompress=False
        )
        self._server_hostname = home.server_name if home.tls and home.server_name != home.host else None

    async def close(self) -> None:
        await self._session.close()

    async def list(
        self, resource: Resource, namespace: str | None = None, *, fields: str = ""
    ) -> tuple[list[Object], str, int]:
        """Objects, the resourceVersion to watch from, and what all of it weighs, by ``http1.weight``."""
        query = paths.query({"fieldSelector": fields})
        answer, heavy = await self._call("GET", paths.collection(resource, namespace) + query)
        items, metadata = answer.get("items") or [], answer.get("metadata") or {}
        if not (isinstance(items, list) and all(map(_is_named, items)) and isinstance(metadata, dict)):
            raise ServiceUnavailable(f"{self.home.where} answered a list that is none.")
        return items, str(metadata.get("resourceVersion", "")), heavy

    async def print(self, resource: Resource, namespace: str | None = None) -> tuple[Printed, str, int]:
        """As ``list``, in the server's own columns."""
        path = paths.collection(resource, namespace) + paths.query({"includeObject": "Object"})
        answer, heavy = await self._call("GET", path, accept=TABLE)
        metadata = answer.get("metadata") or {}
        if not isinstance(metadata, dict):
            raise ServiceUnavailable(f"{self.home.where} answered a list that is none.")
        return self._printed(answer), str(metadata.get("resourceVersion", "")), heavy

    def _printed(self, answer: Object) -> Printed:
        """A Table; a server that knows none gives objects, which have no cells. Raises ServiceUnavailable."""
        columns, rows = answer.get("columnDefinitions") or [], answer.get("rows") or []
        if answer.get("kind") != "Table":
            rows = [{"object": item} for item in answer.get("items", [answer])]
        if not (isinstance(rows, list) and isinstance(columns, list) and all(map(_is_row, rows))):
            raise ServiceUnavailable(f"{self.home.where} answered a table that is none.")
        kept = [column for column in columns if isinstance(column, dict)]
        return Printed(kept, [(row["object"], row.get("cells") or []) for row in rows])

    async def discover(self) -> Sequence[Resource]:
        """Every resource of the server that can be watched."""
        found = [await self._call("GET", root, accept=kinds.AGGREGATED) for root in kinds.ROOTS]
        try:
            return [resource for answer, _ in found for resource in kinds.discovered(answer, verb="watch")]
        except (KeyError, TypeError, AttributeError) as err:
            raise ServiceUnavailable(f"{self.home.where} answered a discovery that is none.") from err

    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str,
        opened: Callable[[], None] | None = None,
        printed: bool = False,
    ) -> AsyncGenerator[tuple[Object, int]]:
        """Events after ``resource_version`` until the server ends it, each with its weight.

        ``opened`` is called when it has begun. ``printed`` events have the ``cells`` of the server's columns
        beside the object. Raises Expired, ServiceUnavailable.
        """
        query = paths.query(
            {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": resource_version,
             "includeObject": "Object" if printed else ""}
        )  # fmt: skip
        headers = {"Accept": TABLE} if printed else {}
        timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
        path = paths.collection(resource, namespace) + query
        with self._translated():
            async with self._session.get(
                self._base + path, timeout=timeout, headers=headers, server_hostname=self._server_hostname
            ) as response:
                if response.status >= 400:
                    raise await _refusal(response)
                if opened is not None:
                    opened()
                pending = b""
                async for piece in response.content.iter_any():
                    *lines, pending = (pending + piece).split(b"\n")
                    for line in lines:
                        if not line:
                            continue
                        yield self._event(self._loaded(line)), weight(line)
                    if len(pending) > _READ_LIMIT:
                        raise ServiceUnavailable(f"{self.home.where} sent an event without end.")

    def _event(self, event: Any) -> Object:
        """Raises what the server says, and ServiceUnavailable for what is no event."""
        obj = event.get("object") if isinstance(event, dict) else None
        if isinstance(obj, dict) and event.get("type") == "ERROR":
            raise failure.from_status(obj)
        if isinstance(obj, dict) and obj.get("kind") == "Table":
            rows = self._printed(obj).rows
            if event["type"] != "BOOKMARK" and len(rows) == 1:
                return {"type": event["type"], "object": rows[0][0], "cells": rows[0][1]}
            version = next((row.get("metadata") for row, _ in rows), None) or obj.get("metadata") or {}
            return {"type": "BOOKMARK", "object": {"metadata": version}}
        if not isinstance(obj, dict) or not (event.get("type") == "BOOKMARK" or _is_named(obj)):
            raise ServiceUnavailable(f"{self.home.where} sent an event that is none.")
        return dict(event)

    async def ping(self) -> str:
        """The server's version. Raises Timeout soon, ServiceUnavailable, or what it refuses with."""
        timeout = aiohttp.ClientTimeout(total=PING_SECONDS, sock_connect=CONNECT_SECONDS)
        with self._translated():
            async with self._session.get(
                f"{self._base}/version", timeout=timeout, server_hostname=self._server_hostname
            ) as response:
                if response.status >= 400:
                    raise await _refusal(response)
                answer = self._loaded(await _whole(response))
        version = answer.get("gitVersion") if isinstance(answer, dict) else ""
        return str(version or "")

    async def create(self, resource: Resource, namespace: str | None, obj: Object) -> Object:
        """The object as created."""
        return self._named(await self.call("POST", paths.collection(resource, namespace), body=obj))

    async def rehearse(
        self, resource: Resource, namespace: str | None, obj: Object
    ) -> tuple[Object, Sequence[str]]:
        """The object as it would be created, and what the server warns of; unknown fields are refused."""
        where = paths.query({"dryRun": "All", "fieldValidation": "Strict"})
        warnings: deque[str] = deque()
        path = paths.collection(resource, namespace) + where
        made, _ = await self._call("POST", path, body=obj, warn=warnings.append)
        return self._named(made), tuple(warnings)

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        """One object. Raises NotFound."""
        return self._named(await self.call("GET", paths.single(resource, namespace, name)))

    async def patch(
        self, resource: Resource, namespace: str | None, name: str, patch: Object, *, dry_run: bool = False
    ) -> tuple[Object, Sequence[str]]:
        """The object after a JSON merge patch, and what the server warns of; unknown fields are refused."""
        where = paths.query({"dryRun": "All" if dry_run else "", "fieldValidation": "Strict"})
        warnings: deque[str] = deque()
        path = paths.single(resource, namespace, name) + where
        made, _ = await self._call("PATCH", path, body=patch, content_type=MERGE_PATCH, warn=warnings.append)
        return self._named(made), tuple(warnings)

    async def delete(self, resource: Resource, namespace: str | None, name: str, *, uid: str = "") -> Object:
        """Ask for deletion, where ``uid`` is given of that object only; finalizers may hold it for a while."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}} if uid else None
        return await self.call("DELETE", paths.single(resource, namespace, name), body=body)

    def _named(self, obj: Object) -> Object:
        if not _is_named(obj):
            raise ServiceUnavailable(f"{self.home.where} answered with an object that is none.")
        return obj

    def _loaded(self, text: bytes) -> Any:
        if weight(text) > MAX_WEIGHT:
            raise ServiceUnavailable(f"{self.home.where} answered with more values than are taken at a time.")
        return json.loads(text)

    async def call(self, method: str, path: str, *, body: Any = None) -> Object:
        """One request whose answer is JSON."""
        return (await self._call(method, path, body=body))[0]

    async def _call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        accept: str = "",
        content_type: str = "application/json",
        warn: Callable[[str], None] | None = None,
    ) -> tuple[Object, int]:
        """The answer and its weight; ``warn`` gets the server's warnings."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS, sock_connect=CONNECT_SECONDS)
        headers = {"Content-Type": content_type} if body is not None else {}
        if accept:
            headers["Accept"] = accept
        data = json.dumps(body).encode() if body is not None else None
        with self._translated():
            async with self._session.request(
                method, self._base + path, data=data, headers=headers, timeout=timeout,
                server_hostname=self._server_hostname,
            ) as response:  # fmt: skip
                if response.status >= 400:
                    raise await _refusal(response)
                whole = await _whole(response)
                if warn is not None:
                    for value in response.headers.getall("Warning", ()):
                        warn(warning(value))
                answer = self._loaded(whole)
                if not isinstance(answer, dict):
                    raise ServiceUnavailable(f"{self.home.where} answered something that is no object.")
                return answer, weight(whole)

    async def stream(self, path: str) -> AsyncIterator[bytes]:
        """The bytes of an answer as they come, for as long as they do: a console's log."""
        timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS)
        with self._translated():
            async with self._session.get(
                self._base + path, timeout=timeout, server_hostname=self._server_hostname
            ) as response:
                if response.status >= 400:
                    raise await _refusal(response)
                async for piece in response.content.iter_any():
                    yield piece

    @asynccontextmanager
    async def session(self, path: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A console's WebSocket. Raises the refusal that came instead of the upgrade."""
        with self._translated():
            try:
                socket = await self._session.ws_connect(
                    self._base + path, protocols=(SUBPROTOCOL,), max_msg_size=4 << 20,
                    timeout=aiohttp.ClientWSTimeout(ws_close=2.0), server_hostname=self._server_hostname,
                )  # fmt: skip
            except aiohttp.WSServerHandshakeError as err:
                # aiohttp throws the body away; asking once more, plainly, gets the sentence.
                held = await self.call("GET", f"{path.partition('?')[0]}?probe=true")
                if err.status == 409:
                    raise Conflict(_held_by(held, "screen" if "/vnc?" in path else "console")) from err
                if err.status == 400:
                    raise BadRequest("The machine does not run, or its console is not ready yet.") from err
                raise ServiceUnavailable(f"The session was refused ({err.status}).") from err
        try:
            yield socket
        finally:
            # 1000 means something else on a console; see the reference's close codes.
            await socket.close(code=aiohttp.WSCloseCode.GOING_AWAY)

    def _translated(self) -> _Translated:
        return _Translated(self.home)


class _Translated:
    """Turns what aiohttp raises into errors of ours."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, err: BaseException | None, trace: object) -> None:
        if err is None or isinstance(err, HyperdError):
            return
        if isinstance(err, asyncio.TimeoutError):
            raise Timeout(f"{self._home.where} does not answer.") from err
        if self._home.ssh and isinstance(err, aiohttp.ServerDisconnectedError):
            raise unanswered(self._home) from err
        if isinstance(err, OSError):
            raise failure.from_os_error(err, self._home) from err
        if isinstance(err, aiohttp.ClientError | ValueError | RecursionError):  # so deep is its JSON
            raise ServiceUnavailable(f"{self._home.where}: {err}.") from err


def _is_named(obj: Any) -> bool:
    metadata = obj.get("metadata") if isinstance(obj, dict) else None
    return isinstance(metadata, dict) and isinstance(metadata.get("name"), str)


def _is_row(row: Any) -> bool:
    return isinstance(row, dict) and isinstance(row.get("cells") or [], list) and _is_named(row.get("object"))


def _held_by(answer: Object, what: str) -> str:
    holder, client = str(answer.get("holder") or "somebody"), str(answer.get("client") or "")
    with_ = f" with {client}" if client else ""
    return f'This {what} is held by "{holder}"{with_} since {answer.get("startTime") or "just now"}.'


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    """The body. Raises ServiceUnavailable for one that is too large."""
    whole = bytearray()
    async for piece in response.content.iter_any():
        whole += piece
        if len(whole) > MAX_BODY:
            response.close()
            raise ServiceUnavailable(f"{response.url.host}: its answer is larger than {MAX_BODY >> 20} MiB.")
    return bytes(whole)


async def _refusal(response: aiohttp.ClientResponse) -> HyperdError:
    return failure.from_response(
        response.status, await _whole(response), request_id=response.headers.get("X-Request-Id", "")
    )


def _tls(home: Home) -> Any:
    if not home.tls:
        return False
    from hyperd.client.tls import context

    return context(home)
