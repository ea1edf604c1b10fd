"""The verbs on resources: from a request to the store and back.

What belongs to the wire is checked here (names and kinds that contradict the path, media types, options); what
belongs to the object is the store's and admission's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from typing import TypeVar

from aiohttp import web

from hyperd.api.access.authorization import Attributes, Authorizer, require
from hyperd.api.endpoints import answers
from hyperd.api.endpoints.answers import Call
from hyperd.api.endpoints.watching import Watchers
from hyperd.api.limits.turns import in_one_turn
from hyperd.api.wire import bodies, options, protobuf
from hyperd.api.wire.routes import Target
from hyperd.background import hear
from hyperd.errors import BadRequest, Conflict, NotFound, UnsupportedMediaType
from hyperd.resources.schema.kind import Kind, Object
from hyperd.store.interface import FieldValidation, Item, Listing, PatchType, Store, Write

T = TypeVar("T")
Handler = Callable[[Call], Awaitable[web.StreamResponse]]

_MAX_MANAGER_BYTES = 128


class Objects:
    """The verbs over one store; ``handlers`` is the table by verb."""

    def __init__(
        self,
        store: Store,
        watchers: Watchers,
        authorizer: Authorizer,
        max_body_bytes: int,
        versions: Mapping[Kind, Store],
    ) -> None:
        """``versions`` are the stores of kinds in other versions than they are stored in."""
        self._main = store
        self._versions = versions
        self._authorizer = authorizer
        self._watchers = watchers
        self._max_body = max_body_bytes
        self._writes: set[asyncio.Task[object]] = set()
        self.handlers: Mapping[str, Handler] = {
            "get": self.get,
            "list": self.list_or_watch,
            "create": self.create,
            "update": self.update,
            "patch": self.patch,
            "delete": self.delete,
            "deletecollection": self.delete_collection,
        }

    def _store(self, target: Target) -> Store:
        return self._versions.get(target.kind, self._main)

    async def _finish(self, work: Coroutine[object, None, T]) -> T:
        """Let a write reach its end even when the client leaves: the store is never cut off in the middle.

        A write is of one object, whose line in the ledger it holds: it waits for a turn before it begins alone.
        """
        task = asyncio.create_task(in_one_turn(work))
        self._writes.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    async def drain(self, seconds: float) -> None:
        """Let writes whose client has left reach their end, for so long at most."""
        if self._writes:
            await asyncio.wait(self._writes, timeout=seconds)

    def _finished(self, task: asyncio.Task[object]) -> None:
        self._writes.discard(task)
        hear(task)  # its client may have left

    async def get(self, call: Call) -> web.StreamResponse:
        target = call.target
        found = await self._store(target).get(
            target.kind, target.scope, target.name, subresource=target.subresource
        )
        return await answers.item(call, found)

    async def list_or_watch(self, call: Call) -> web.StreamResponse:
        wanted = options.list_options(call.target.kind, call.query)
        if wanted.watch and call.request.method == "GET":
            return await self._watchers.serve(call, wanted)
        return await answers.listing(call, await self._list(call, wanted))

    async def _list(self, call: Call, wanted: options.ListOptions) -> Listing:
        return await self._store(call.target).list(
            call.target.kind,
            call.target.namespace,
            selector=call.within_sight(wanted.selector),
            limit=wanted.limit,
            continue_token=wanted.continue_token,
            resource_version=wanted.resource_version,
            match=wanted.match,
        )

    async def create(self, call: Call) -> web.StreamResponse:
        target = call.target
        call.accepted(answers.ONE)
        write = self._write(call, "CreateOptions")
        obj = await self._object(call, write)
        made = await self._finish(self._store(target).create(target.kind, target.scope, obj, write=write))
        call.made = made.name
        return await answers.item(call, made, status=201)

    async def update(self, call: Call) -> web.StreamResponse:
        target = call.target
        call.accepted(answers.ONE)
        write = self._write(call, "UpdateOptions")
        obj = await self._object(call, write)
        meta = obj["metadata"]
        if not meta.get("name"):
            raise BadRequest(f"the name of the object is missing; the URL says {target.name}")
        if meta["name"] != target.name:
            raise BadRequest(
                f"the name of the object ({meta['name']}) does not match the name on the URL ({target.name})"
            )
        changed = await self._finish(
            self._store(target).update(
                target.kind, target.scope, target.name, obj, subresource=target.subresource, write=write
            )
        )
        return await answers.item(call, changed)

    async def patch(self, call: Call) -> web.StreamResponse:
        target = call.target
        call.accepted(answers.ONE)
        patch_type = _patch_type(call.request.content_type, target.kind)
        if patch_type is PatchType.APPLY:
            return await self._apply(call)
        if call.query.optional_flag("force") is not None:
            raise options.forbidden_force()
        write = self._write(call, "PatchOptions")
        body = await bodies.read(call.request, self._max_body)
        patch, duplicates = await bodies.parse_json(body, call.share)
        wanted: type = list if patch_type is PatchType.JSON else dict
        if not isinstance(patch, wanted):
            raise BadRequest(
                f"a patch of type {patch_type} must be {'an array' if wanted is list else 'an object'}"
            )
        _report_duplicates(duplicates, write)
        changed = await self._finish(
            self._store(target).patch(
                target.kind,
                target.scope,
                target.name,
                patch_type,
                patch,
                subresource=target.subresource,
                write=write,
            )
        )
        return await answers.item(call, changed)

    async def _apply(self, call: Call) -> web.StreamResponse:
        target = call.target
        where = (target.kind, target.scope, target.name)
        create = Attributes(
            "create", target.kind.group, target.kind.plural, target.subresource, target.scope, target.name
        )
        write = replace(
            self._write(call, "PatchOptions"),
            # Nobody applies by the name of a program: it would not say which of its users owns what.
            field_manager=call.query.get("fieldManager"),
            may_create=await self._authorizer.allows(call.user, create),
        )
        body = await bodies.read(call.request, self._max_body)
        config, duplicates = await bodies.parse_config(body, call.share)
        _report_duplicates(duplicates, write)
        work = self._store(target).apply(
            *where, config, subresource=target.subresource, force=call.query.flag("force"), write=write
        )
        try:
            applied, created = await self._finish(work)
        except NotFound as err:
            if not write.may_create and err.kind == target.kind.plural:
                await require(self._authorizer, call.user, create)
            raise
        return await answers.item(call, applied, status=201 if created else 200)

    async def delete(self, call: Call) -> web.StreamResponse:
        target = call.target
        call.accepted(answers.ONE)
        wanted = await self._delete_options(call)
        last, gone = await self._finish(
            self._store(target).delete(
                target.kind,
                target.scope,
                target.name,
                preconditions=wanted.preconditions,
                propagation=wanted.propagation,
                write=self._delete_write(call, wanted),
            )
        )
        return answers.success(call, last) if gone else await answers.item(call, last)

    async def delete_collection(self, call: Call) -> web.StreamResponse:
        call.accepted(answers.MANY)
        chosen = options.list_options(call.target.kind, call.query)
        wanted = await self._delete_options(call)
        write = self._delete_write(call, wanted)
        found = await self._list(call, chosen)
        deleted: list[Item] = []
        for one in found.items:
            try:
                last, _ = await self._finish(
                    self._store(call.target).delete(
                        call.target.kind,
                        one.namespace,
                        one.name,
                        preconditions=wanted.preconditions,
                        propagation=wanted.propagation,
                        write=write,
                    )
                )
            except (NotFound, Conflict):
                # Somebody else deleted it, or it is not the one that the preconditions mean.
                continue
            deleted.append(last)
        return await answers.listing(
            call, Listing(deleted, found.resource_version, found.continue_token, found.remaining)
        )

    @staticmethod
    def _write(call: Call, kind: str) -> Write:
        """As the options of ``kind`` (CreateOptions) say. Raises Invalid."""
        wanted = options.write_options(kind, call.query)
        return Write(
            user=call.user,
            field_manager=wanted.field_manager or _agent(call.request),
            field_validation=wanted.field_validation,
            dry_run=wanted.dry_run,
            warn=call.warnings.append,
        )

    @staticmethod
    def _delete_write(call: Call, wanted: options.DeleteOptions) -> Write:
        return Write(
            user=call.user,
            field_manager=_agent(call.request),
            dry_run=wanted.dry_run,
            warn=call.warnings.append,
        )

    async def _object(self, call: Call, write: Write) -> Object:
        """The body, which must be what the path says."""
        kind = call.target.shape
        body = await bodies.read(call.request, self._max_body)
        allowed = kind.core and protobuf.speaks(kind.kind)
        content_type = call.request.content_type
        obj, duplicates = await bodies.parse_object(body, content_type, protobuf_allowed=allowed, share=call.share)
        _report_duplicates(duplicates, write)
        _match_kind(obj, kind)
        if obj.get("metadata") is None:
            obj["metadata"] = {}
        metadata = obj["metadata"]
        if not isinstance(metadata, dict):
            raise BadRequest("metadata: must be an object")
        for field in ("name", "namespace", "generateName", "resourceVersion", "uid"):
            if not isinstance(metadata.get(field, ""), str):
                raise BadRequest(f"metadata.{field}: must be a string")
        _match_namespace(metadata, call.target.namespace)
        return obj

    async def _delete_options(self, call: Call) -> options.DeleteOptions:
        body = await bodies.read(call.request, self._max_body)
        if not body:
            return options.delete_options(call.query, {})
        content_type = call.request.content_type
        value, _ = await bodies.parse_object(body, content_type, protobuf_allowed=True, share=call.share)
        return options.delete_options(call.query, value)


def _agent(request: web.BaseRequest) -> str:
    """The client's program, which is its field manager unless it names one."""
    agent = request.headers.get("User-Agent", "").partition("/")[0]
    printable = "".join(char for char in agent if char.isprintable()).encode()
    return printable[:_MAX_MANAGER_BYTES].decode(errors="ignore") or "unknown"


def _match_kind(obj: Object, kind: Kind) -> None:
    """Kind and apiVersion may be left out; they may not contradict the path."""
    version = obj.setdefault("apiVersion", kind.api_version)
    if version != kind.api_version:
        raise BadRequest(
            f"the API version in the data ({str(version)[:100]}) does not match the expected API version "
            f"({kind.api_version})"
        )
    name = obj.setdefault("kind", kind.kind)
    if name != kind.kind:
        raise BadRequest(
            f"the kind in the data ({str(name)[:100]}) does not match the expected kind ({kind.kind})"
        )


def _match_namespace(metadata: Object, namespace: str | None) -> None:
    given = metadata.get("namespace", "")
    if namespace is None:
        if given:
            raise BadRequest(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        return
    if given and given != namespace:
        raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")
    metadata["namespace"] = namespace


def _report_duplicates(duplicates: list[str], write: Write) -> None:
    if not duplicates or write.field_validation is FieldValidation.IGNORE:
        return
    if write.field_validation is FieldValidation.STRICT:
        fields = ", ".join(f'duplicate field "{path}"' for path in duplicates)
        raise BadRequest(f"strict decoding error: {fields}")
    for path in duplicates:
        write.warn(f'duplicate field "{path}"')


def _patch_type(content_type: str, kind: Kind) -> PatchType:
    allowed = [one for one in PatchType if kind.core or one is not PatchType.STRATEGIC]
    for one in allowed:
        if content_type == one:
            return one
    raise UnsupportedMediaType(
        "the body of the request was in an unknown format - accepted media types include: "
        + ", ".join(one.value for one in allowed)
    )
