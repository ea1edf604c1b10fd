"""The blocking client of the command line: objects, tables, watches, over one kept connection."""

from __future__ import annotations

import json

from hyperd.client import paths
from hyperd.client.home import Home
from hyperd.client.http1 import MAX_WEIGHT, Connection, ConnectionLost, Response, weight
from hyperd.client.words import warning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from hyperd.client.resource import Resource

    Object = dict[str, Any]

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
answered = ""
"""The last home that answered anything."""
ANSWER_SECONDS = 30.0
SILENCE_SECONDS = 90.0
"""Longer than the time between two bookmarks of any server: one that is silent so long is dead."""
MERGE_PATCH = "application/merge-patch+json"


class Client:
    """Requests to one home. Refusals raise ``hyperd.errors``; ``warn`` gets the server's warnings."""

    def __init__(
        self, home: Home, *, warn: Callable[[str], None] | None = None, timeout: float | None = None
    ) -> None:
        """``timeout`` is ANSWER_SECONDS unless it is given."""
        self.home = home
        self._warn = warn
        self._timeout = ANSWER_SECONDS if timeout is None else timeout
        self._connection: Connection | None = None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        """One object. Raises NotFound."""
        return self.call("GET", paths.single(resource, namespace, name))

    def find(self, resource: Resource, namespace: str | None, name: str) -> Object | None:
        """One object, or None."""
        from hyperd.errors import NotFound

        try:
            return self.get(resource, namespace, name)
        except NotFound:
            return None

    def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        table: bool = False,
        whole: bool = False,
    ) -> Object:
        """A list object; with ``table`` its printed form, a ``Table``, whose rows have ``whole`` objects or their
        metadata alone."""
        include = "Object" if table and whole else ""
        where = paths.query({"labelSelector": labels, "fieldSelector": fields, "includeObject": include})
        return self.call("GET", paths.collection(resource, namespace) + where, accept=TABLE if table else "")

    def create(self, resource: Resource, namespace: str | None, obj: Object, *, dry_run: bool = False) -> Object:
        """The object as created; unknown fields are refused. Raises AlreadyExists, Invalid."""
        where = paths.query({"dryRun": "All" if dry_run else "", "fieldValidation": "Strict"})
        return self.call("POST", paths.collection(resource, namespace) + where, body=obj)

    def patch(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        patch: object,
        *,
        kind: str = MERGE_PATCH,
        dry_run: bool = False,
    ) -> Object:
        """The object as patched; ``kind`` is the media type of the patch."""
        where = paths.query({"dryRun": "All" if dry_run else "", "fieldValidation": "Strict"})
        path = paths.single(resource, namespace, name) + where
        return self.call("PATCH", path, body=patch, content_type=kind)

    def delete(self, resource: Resource, namespace: str | None, name: str, *, dry_run: bool = False) -> Object:
        """The object's last state, or a Status when it is gone already. Raises NotFound."""
        where = paths.query({"dryRun": "All" if dry_run else ""})
        return self.call("DELETE", paths.single(resource, namespace, name) + where)

    def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        name: str = "",
        labels: str = "",
        fields: str = "",
        resource_version: str = "",
        table: bool = False,
        timeout: float | None = None,
        bookmarks: bool = False,
    ) -> Iterator[Object]:
        """Watch events, until the server ends the watch or ``timeout`` seconds pass in silence.

        ``bookmarks`` has the server say something at least every minute, as BOOKMARK events; ``timeout`` is then
        how long a server may be silent that lives, unless it is given.
        Without ``resource_version`` what exists comes first as ADDED: from a list of its own, since API servers
        over an older etcd can keep a watch that begins anywhere waiting until somebody writes. Raises Expired when
        the version is too old, Timeout after silence.
        """
        if name:
            fields = f"metadata.name={name}" + (f",{fields}" if fields else "")
        if not resource_version and not table:
            listed = self.list(resource, namespace, labels=labels, fields=fields)
            for item in listed["items"]:
                yield {
                    "type": "ADDED",
                    "object": {"apiVersion": resource.api_version, "kind": resource.kind, **item},
                }
            resource_version = listed["metadata"]["resourceVersion"]
        where = paths.query(
            {
                "watch": "true",
                "allowWatchBookmarks": "true" if bookmarks else "",
                "resourceVersion": resource_version,
                "labelSelector": labels,
                "fieldSelector": fields,
            }
        )
        path = paths.collection(resource, namespace) + where
        if bookmarks and timeout is None:
            timeout = SILENCE_SECONDS
        with self.stream("GET", path, accept=TABLE if table else "", timeout=timeout) as response:
            for line in response.lines():
                event = _parsed(line, self.home.where)
                if not isinstance(event.get("type"), str) or not isinstance(event.get("object"), dict):
                    from hyperd.errors import InternalError

                    raise InternalError(f"{self.home.where} sent an event that is none.")
                if event["type"] == "ERROR":
                    from hyperd.client import failure

                    raise failure.from_status(event["object"])
                yield event

    def call(
        self, method: str, path: str, *, body: Any = None, content_type: str = "application/json", accept: str = ""
    ) -> Object:
        """One request whose answer is JSON."""
        headers = {"Accept": accept} if accept else {}
        data = b""
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = content_type
        answer = self.raw(method, path, body=data, headers=headers)
        return _parsed(answer, self.home.where)

    def raw(self, method: str, path: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
        """One request; the answer's bytes. Raises what the server says."""
        try:
            response = self._send(method, path, body=body, headers=headers)
            answer = response.body()
        except OSError as err:
            self.close()
            raise self._unreachable(err) from err
        global answered
        answered = self.home.where
        if response.header("connection").lower() == "close":
            self.close()
        self._check(response, answer)
        return answer

    def stream(self, method: str, path: str, *, accept: str = "", timeout: float | None = None) -> Stream:
        """A request whose answer is read as it comes, on a connection of its own."""
        try:
            connection = Connection(self.home, timeout=self._timeout)
            response = connection.request(method, path, headers={"Accept": accept} if accept else {})
            if response.status >= 300:
                answer = response.body()
                connection.close()
                self._check(response, answer)
        except OSError as err:
            raise self._unreachable(err) from err
        self._show_warnings(response)
        connection.socket.settimeout(timeout)
        return Stream(response, connection)

    def _send(self, method: str, path: str, *, body: bytes, headers: Mapping[str, str] | None) -> Response:
        kept = self._connection
        if kept is not None and not kept.dropped:
            try:
                return kept.request(method, path, headers=headers, body=body)
            except (ConnectionLost, BrokenPipeError, ConnectionResetError):
                # Lost at that moment: nobody knows whether the server has the request, which matters for a write.
                self.close()
                if method != "GET":
                    raise
        self.close()
        self._connection = Connection(self.home, timeout=self._timeout)
        return self._connection.request(method, path, headers=headers, body=body)

    def _check(self, response: Response, answer: bytes) -> None:
        self._show_warnings(response)
        if response.status >= 300:
            from hyperd.client import failure

            raise failure.from_response(response.status, answer, request_id=response.header("x-request-id"))

    def _show_warnings(self, response: Response) -> None:
        if self._warn is None:
            return
        for name, value in response.headers:
            if name == "warning":
                self._warn(warning(value))

    def _unreachable(self, err: OSError) -> Exception:
        from hyperd.client import failure

        return failure.from_os_error(err, self.home)


def _parsed(answer: bytes, where: str) -> Object:
    """The JSON object of an answer. Raises InternalError for what is none, or has none of an object's parts."""
    if weight(answer) > MAX_WEIGHT:
        raise _odd(f"{where} answered with more values than hv takes at a time: ask for less.")
    try:
        parsed = json.loads(answer)
    except (ValueError, RecursionError) as err:
        raise _odd(f"{where} answered something that is not JSON.") from err
    if not isinstance(parsed, dict) or not _has_shape(parsed):
        raise _odd(f"{where} answered something that is no object of the API.")
    return parsed


def _odd(why: str) -> Exception:
    from hyperd.errors import InternalError  # its import takes longer than a list does

    return InternalError(why)


def _has_shape(answer: Object) -> bool:
    """Whether what every command reads of an answer is of its type: metadata, names, items, rows."""
    metadata = answer.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        return False
    for field in ("items", "rows", "columnDefinitions"):
        entries = answer.get(field)
        if entries is not None and not (
            isinstance(entries, list) and all(isinstance(one, dict) for one in entries)
        ):
            return False
    if answer.get("kind") == "Status":
        return True
    return all(isinstance(answer.get(field) or {}, dict) for field in ("spec", "status"))


class Stream:
    """An open answer; leaving the ``with`` closes its connection. Raises Timeout after silence."""

    cut = False
    """Whether the connection ended before the answer did."""

    def __init__(self, response: Response, connection: Connection) -> None:
        self._response = response
        self._connection = connection

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    @property
    def length(self) -> int:
        """How many bytes the server says will come; -1 when it does not say."""
        text = self._response.header("content-length")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else -1

    def lines(self) -> Iterator[bytes]:
        return self._guarded(self._response.lines())

    def pieces(self) -> Iterator[bytes]:
        return self._guarded(self._response.pieces())

    def _guarded(self, source: Iterator[bytes]) -> Iterator[bytes]:
        try:
            yield from source
        except ConnectionLost:
            self.cut = True
        except OSError as err:
            from hyperd.client import failure

            raise failure.from_os_error(err, self._connection.home) from err
