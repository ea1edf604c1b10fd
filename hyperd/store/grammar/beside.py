"""Where the work on an object is done: here when it is small, in another process when it is large."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import orjson

from hyperd.errors import BadRequest
from hyperd.offload import Answer, Offload, is_large
from hyperd.resources.schema.kind import Kind, Object
from hyperd.store.grammar import heavy, preparing
from hyperd.store.grammar.fields import apply as applying
from hyperd.store.grammar.fields import tracking
from hyperd.store.grammar.patching import apply_patch, copies
from hyperd.store.interface import PatchType, User, Write

_FIELD = tracking.FIELD


class Beside:
    """The functions of ``heavy`` and their small brothers. ``large`` is what ``decode`` says of an object."""

    def __init__(self, processes: Offload | None) -> None:
        """Without ``processes``, and for kinds that they do not know, a thread does what is large."""
        self._processes = processes

    async def _run(
        self, function: Callable[..., Answer], kind: Kind, user: User, options: dict[str, Any], *parts: bytes
    ) -> Answer:
        if self._processes is None or not heavy.known(kind):
            return await asyncio.to_thread(partial(function, {**options, "kind": kind}), *parts)
        options["kind"] = [kind.group, kind.plural, kind.version]
        return await self._processes.run(user.name, f"{heavy.__name__}:{function.__name__}", options, *parts)

    async def decode(
        self, kind: Kind, namespace: str, obj: Object, write: Write, *, applied: bool
    ) -> tuple[Object, bool]:
        """A pruned and defaulted copy, and whether it is large. Raises BadRequest for what is no ``kind`` at all.

        ``applied`` says that an apply made it, which leaves its nulls to be judged.
        """
        if not isinstance(obj, dict):
            raise BadRequest("the object provided is unrecognized: it must be an object with apiVersion and kind")
        meta = obj.get("metadata")
        entries = meta.get(_FIELD) if isinstance(meta, dict) else None
        if entries and meta:
            # The longest part by far, which nobody changes in place; what is wrong in it is found by who reads it.
            obj = {**obj, "metadata": {name: value for name, value in meta.items() if name != _FIELD}}
        # Encoding also refuses what could not be stored: deep nesting, numbers and keys that are not JSON.
        encoded = dumped(obj, "the object provided")
        large = is_large(encoded)
        if not large:
            new = preparing.decoded(kind, namespace, _loaded(encoded), write, applied=applied)
        else:
            words, parts = await self._run(
                heavy.decode,
                kind,
                write.user,
                {"namespace": namespace, "validation": write.field_validation.value, "applied": applied},
                encoded,
            )
            for warning in words["warnings"]:
                write.warn(warning)
            new = await _object(parts)
        if not entries:
            return new, large
        new["metadata"][_FIELD] = entries
        return new, large or is_large(dumped(entries, "managedFields"))

    async def in_version(self, kind: Kind, obj: Object, write: Write, *, whole: bool) -> Object:
        """``preparing.in_version``."""
        encoded = dumped(obj, "the object provided")
        if not is_large(encoded):
            return preparing.in_version(kind, obj, write, whole=whole)
        options = {"validation": write.field_validation.value, "whole": whole}
        words, parts = await self._run(heavy.in_version, kind, write.user, options, encoded)
        for warning in words["warnings"]:
            write.warn(warning)
        return await _object(parts)

    async def created(self, large: bool, kind: Kind, new: Object, write: Write, *, applied: bool) -> Object:
        """``preparing.created``."""
        if not large:
            return preparing.created(kind, new, write, applied=applied)
        options = {"manager": write.field_manager, "applied": applied}
        _, parts = await self._run(heavy.created, kind, write.user, options, orjson.dumps(new))
        return await _object(parts)

    async def updated(
        self, large: bool, kind: Kind, new: Object, old: Object, write: Write, *, applied: bool
    ) -> tuple[Object, bool]:
        """``preparing.updated``."""
        if not large:
            return preparing.updated(kind, new, old, write, applied=applied)
        options = {"manager": write.field_manager, "applied": applied}
        pair = await _pair(new, old)
        words, parts = await self._run(heavy.updated, kind, write.user, options, *pair)
        return await _object(parts), words["differs"]

    async def status_updated(
        self, large: bool, kind: Kind, new: Object, old: Object, write: Write, *, applied: bool
    ) -> Object:
        """``preparing.status_updated``."""
        if not large:
            return preparing.status_updated(kind, new, old, write, applied=applied)
        options = {"manager": write.field_manager, "applied": applied}
        pair = await _pair(new, old)
        _, parts = await self._run(heavy.status_updated, kind, write.user, options, *pair)
        return await _object(parts)

    async def patch(self, kind: Kind, live: bytes, type_: PatchType, patch: Any, write: Write) -> Object:
        """``apply_patch`` to the object whose JSON is ``live``."""
        encoded = dumped(patch, "the patch")
        if not is_large(live, encoded) and not (type_ is PatchType.JSON and copies(patch)):
            return apply_patch(kind, orjson.loads(live), type_, patch)
        _, parts = await self._run(heavy.patch, kind, write.user, {"type": type_.value}, live, encoded)
        return await _object(parts)

    async def apply(
        self, kind: Kind, live: bytes, config: Any, write: Write, *, subresource: str, force: bool
    ) -> Object:
        """``applying.apply`` to the object whose JSON is ``live``; that is empty where there is none."""
        options: dict[str, Any] = {"manager": write.field_manager, "subresource": subresource, "force": force}
        encoded = dumped(config, "the object provided")
        if not is_large(live, encoded):
            # As it came by the wire: a controller's enum is a string, and nothing else.
            return applying.apply(kind, orjson.loads(live) if live else None, _loaded(encoded), **options)
        _, parts = await self._run(heavy.apply, kind, write.user, options, live, encoded)
        return await _object(parts)


def dumped(value: Any, what: str) -> bytes:
    """``value`` as JSON. Raises BadRequest for what cannot be encoded."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as err:
        raise BadRequest(f"{what} cannot be encoded as JSON: {err}") from err


def _loaded(encoded: bytes) -> Object:
    try:
        found: Object = orjson.loads(encoded)
    except orjson.JSONDecodeError as err:
        raise BadRequest(f"the object provided cannot be encoded as JSON: {err}") from err
    return found


async def _object(parts: Sequence[bytes]) -> Object:
    """What a process has made. Others have their turn of the loop before it is encoded again."""
    found: Object = orjson.loads(parts[0])
    await asyncio.sleep(0)
    return found


async def _pair(new: Object, old: Object) -> tuple[bytes, bytes]:
    encoded = orjson.dumps(new)
    await asyncio.sleep(0)
    return encoded, orjson.dumps(old)
