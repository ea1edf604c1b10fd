"""The cluster home: the Store over a Kubernetes API server.

Storage, schema, conflicts, garbage collection and access rights are the cluster's; this adapter only speaks its
grammar. Admission runs where the API server calls it (the webhooks of ``manifests/``), so ``Write.user`` has no
meaning here: every write is made as the account that the kubeconfig names, and the cluster's RBAC judges that one.
Objects keep all that the server says of them, managedFields too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

import orjson

from hyperd.errors import BadRequest, HyperdError, InternalError, NotFound
from hyperd.resources.core.scale import SCALE, SUBRESOURCE
from hyperd.resources.schema.kind import Kind, Object, V
from hyperd.store.interface import (
    BY_SYSTEM,
    EVERYTHING,
    FieldRequirement,
    Item,
    Listing,
    PatchType,
    Preconditions,
    Propagation,
    Requirement,
    Selector,
    Watch,
    Write,
)
from hyperd.store.kubernetes.client import KubernetesClient, can_be_segment, collection_path, object_path
from hyperd.store.kubernetes.watch import KubernetesWatch
from hyperd.store.paging import parse_version

_ANYTHING = Preconditions()
_NO_CONFIGURATION = "failed to create typed patch object"


class KubernetesStore:
    """``Store`` and ``Reader`` over one API server. ``start`` before use, ``close`` at the end."""

    def __init__(self, kubeconfig: Path | None, *, context: str = "") -> None:
        """``kubeconfig`` None uses the service account of the Pod that this process runs in."""
        self._client = KubernetesClient(kubeconfig, context=context)
        self._writes = 0
        self._watchers = 0

    async def start(self) -> None:
        """Read the credentials; a server that is down is waited for by whoever asks it. Raises PermanentError."""
        await self._client.start()

    async def close(self) -> None:
        """End watches, drop connections. Safe to call twice."""
        await self._client.close()

    @property
    def client(self) -> KubernetesClient:
        """The connection, for what is no object of ours: reviews, registrations."""
        return self._client

    @property
    def writes(self) -> int:
        """Writes answered since the start."""
        return self._writes

    @property
    def watchers(self) -> int:
        """Open watches."""
        return self._watchers

    @property
    def url(self) -> str:
        """The API server's URL, for messages; empty before the start."""
        return self._client.host

    async def served(self, group: str, version: str) -> frozenset[str]:
        """The plurals of the resources that the server has in a version of a group; none where it has no such."""
        try:
            found = await self._client.request("GET", f"/apis/{group}/{version}")
        except NotFound:
            return frozenset()
        return frozenset(resource["name"] for resource in found.get("resources") or ())

    # Reading

    async def get(self, kind: Kind, namespace: str, name: str, *, subresource: str = "") -> Item:
        try:
            answer = await self._client.request("GET", object_path(kind, namespace, name, subresource))
        except InternalError as err:
            if subresource == SUBRESOURCE and "does not exist" in err.message:
                # An API server calls an object without a number a fault of its own.
                raise NotFound(err.message, kind=kind.plural, group=kind.group, name=name) from err
            raise
        return _item(kind, answer)

    async def list(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        selector: Selector = EVERYTHING,
        limit: int = 0,
        continue_token: str = "",
        resource_version: str = "",
        match: str = "",
    ) -> Listing:
        query = selector_query(selector)
        for name, value in (
            ("limit", str(limit) if limit else ""),
            ("continue", continue_token),
            ("resourceVersion", resource_version),
            ("resourceVersionMatch", match),
        ):
            if value:
                query.append((name, value))
        answer = await self._client.request("GET", collection_path(kind, namespace), query=query)
        meta = answer["metadata"]
        return Listing(
            [_item(kind, obj) for obj in answer.get("items") or ()],
            meta["resourceVersion"],
            meta.get("continue", ""),
            meta.get("remainingItemCount"),
        )

    @asynccontextmanager
    async def watch(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        selector: Selector = EVERYTHING,
        resource_version: str = "",
        bookmarks: bool = False,
        send_initial: bool | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[Watch]:
        if resource_version:
            parse_version(resource_version)  # an API server would call it a fault of its own
        watch = KubernetesWatch(
            self._client,
            kind,
            collection_path(kind, namespace),
            query=selector_query(selector),
            bookmarks=bookmarks or bool(send_initial),
            timeout=timeout,
        )

        async def lister(*, limit: int = 0) -> Listing:
            return await self.list(kind, namespace, selector=selector, limit=limit)

        self._watchers += 1
        try:
            await watch.open(lister, resource_version=resource_version, send_initial=send_initial)
            yield watch
        finally:
            self._watchers -= 1
            await watch.close()

    async def find(self, kind: Kind[V], namespace: str, name: str) -> V | None:
        if not can_be_segment(name) or (kind.namespaced and not can_be_segment(namespace)):
            # Whatever names it (a spec, perhaps), nothing is called so.
            return None
        try:
            found: V = (await self.get(kind, namespace, name)).object()
        except NotFound:
            return None
        return found

    async def find_all(self, kind: Kind[V], namespace: str | None = None) -> Sequence[V]:
        return [item.object() for item in (await self.list(kind, namespace)).items]

    # Writing

    async def create(self, kind: Kind, namespace: str, obj: Object, *, write: Write = BY_SYSTEM) -> Item:
        path = collection_path(kind, namespace)
        if isinstance(obj, dict) and _version(obj):
            # An API server would call it a fault of its own.
            raise BadRequest("resourceVersion should not be set on objects to be created")
        return await self._write("POST", kind, path, _encoded(_addressed(kind, obj)), write)

    async def update(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        obj: Object,
        *,
        subresource: str = "",
        write: Write = BY_SYSTEM,
    ) -> Item:
        path = object_path(kind, namespace, name, subresource)
        sent = SCALE if subresource == SUBRESOURCE else kind
        return await self._write("PUT", kind, path, _encoded(_addressed(sent, obj, name)), write)

    async def patch(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        patch_type: PatchType,
        patch: object,
        *,
        subresource: str = "",
        force: bool = False,
        write: Write = BY_SYSTEM,
    ) -> Item:
        if patch_type is PatchType.APPLY:
            applied = self.apply(kind, namespace, name, patch, subresource=subresource, force=force, write=write)
            return (await applied)[0]
        path = object_path(kind, namespace, name, subresource)
        return await self._write("PATCH", kind, path, _encoded(patch), write, content_type=patch_type)

    async def apply(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        config: object,
        *,
        subresource: str = "",
        force: bool = False,
        write: Write = BY_SYSTEM,
    ) -> tuple[Item, bool]:
        path = object_path(kind, namespace, name, subresource)
        query = _write_query(write) + ([("force", "true")] if force else [])
        try:
            status, answer = await self._client.exchange(
                "PATCH", path, query=query, body=_encoded(config), content_type=PatchType.APPLY, warn=write.warn
            )
        except HyperdError as err:
            if err.code == HTTPStatus.INTERNAL_SERVER_ERROR and err.message.startswith(_NO_CONFIGURATION):
                # An API server calls a configuration that does not fit the schema a fault of its own.
                raise BadRequest(err.message) from err
            raise
        self._writes += not write.dry_run
        return _item(kind, answer), status == HTTPStatus.CREATED

    async def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        *,
        preconditions: Preconditions = _ANYTHING,
        propagation: Propagation = Propagation.BACKGROUND,
        write: Write = BY_SYSTEM,
    ) -> tuple[Item, bool]:
        options: Object = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation.value}
        wanted = {"uid": preconditions.uid, "resourceVersion": preconditions.resource_version}
        if present := {key: value for key, value in wanted.items() if value}:
            options["preconditions"] = present
        if write.dry_run:
            options["dryRun"] = ["All"]
        if write.at_once:
            options["gracePeriodSeconds"] = 0
        # The answer to a deletion that is complete does not carry the object.
        last = await self.get(kind, namespace, name)
        path = object_path(kind, namespace, name)
        answer = await self._client.request("DELETE", path, body=_encoded(options), warn=write.warn)
        self._writes += not write.dry_run
        if answer.get("kind") == "Status":
            return last, True
        return _item(kind, answer), not _held(answer)

    async def delete_collection(self, kind: Kind, namespace: str, *, selector: Selector = EVERYTHING) -> None:
        """Delete all objects of ``namespace`` that ``selector`` finds, in one request."""
        path = collection_path(kind, namespace)
        await self._client.request("DELETE", path, query=selector_query(selector))
        self._writes += 1

    async def _write(
        self,
        method: str,
        kind: Kind,
        path: str,
        body: bytes,
        write: Write,
        *,
        content_type: str = "application/json",
    ) -> Item:
        answer = await self._client.request(
            method, path, query=_write_query(write), body=body, content_type=content_type, warn=write.warn
        )
        self._writes += not write.dry_run
        return _item(kind, answer)


def _write_query(write: Write) -> list[tuple[str, str]]:
    query = [("fieldManager", write.field_manager), ("fieldValidation", write.field_validation.value)]
    if write.dry_run:
        query.append(("dryRun", "All"))
    return query


def selector_query(selector: Selector) -> list[tuple[str, str]]:
    """``selector`` as the query of a request."""
    query: list[tuple[str, str]] = []
    if selector.labels:
        query.append(("labelSelector", ",".join(map(_label_term, selector.labels))))
    if selector.fields:
        query.append(("fieldSelector", ",".join(map(_field_term, selector.fields))))
    return query


def _label_term(term: Requirement) -> str:
    if term.op in ("in", "notin"):
        return f"{term.key} {term.op} ({','.join(sorted(term.values))})"
    if term.op in ("gt", "lt"):
        return ",".join(f"{term.key}{'>' if term.op == 'gt' else '<'}{value}" for value in sorted(term.values))
    return term.key if term.op == "exists" else f"!{term.key}"


def _field_term(term: FieldRequirement) -> str:
    value = term.value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")
    return f"{term.path}{'=' if term.equal else '!='}{value}"


def _item(kind: Kind, obj: Object) -> Item:
    # Lists of Kubernetes' own kinds leave these two out.
    if "kind" not in obj:
        obj = {"kind": kind.kind, "apiVersion": kind.api_version, **obj}
    return Item.of(obj)


def _addressed(kind: Kind, obj: Object, name: str = "") -> Object:
    """``obj`` with what the path says anyway, which clients of the embedded home may leave out."""
    if not isinstance(obj, dict):
        raise BadRequest("the object provided is unrecognized: it must be an object with apiVersion and kind")
    full = {"apiVersion": kind.api_version, "kind": kind.kind, **obj}
    meta = full.get("metadata", {})
    if name and isinstance(meta, dict) and not meta.get("name"):
        full["metadata"] = {**meta, "name": name}
    return full


def _version(obj: Object) -> str:
    meta = obj.get("metadata")
    return str(meta.get("resourceVersion") or "") if isinstance(meta, dict) else ""


def _encoded(value: object) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as err:
        raise BadRequest(f"the object provided cannot be encoded as JSON: {err}") from err


def _held(obj: Object) -> bool:
    """Whether something keeps a deleted object: finalizers, content, or time that it was given."""
    meta = obj["metadata"]
    if not meta.get("deletionTimestamp"):
        return False
    inner = obj.get("spec") or {}
    return bool(meta.get("finalizers") or meta.get("deletionGracePeriodSeconds") or inner.get("finalizers"))
