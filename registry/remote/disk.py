"""The disk in a container image: the first file below ``disk/`` that a container of it would see.

Layers are read from the top, as one above decides what is left of those below. What is taken comes as a stream;
no layer is unpacked anywhere, so no name or link in it can lead out of a folder.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from hyperd.errors import PermanentError, TemporaryError
from hyperd.imagefile.detect import FAILED, compression
from hyperd.settings import Settings
from registry.answers import quotable
from registry.fetch import Source
from registry.remote.client import RemoteRegistry
from registry.remote.manifest import Descriptor, layers_of
from registry.remote.reference import ImageReference
from registry.remote.secret import PullSecret
from registry.remote.tarstream import Entry, TarStream
from registry.resume import Unbroken, Version
from registry.unpack import unpacked
from registry.visit import Visitor

FOLDER = "disk"
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_MOST_HIDDEN = 10_000
_MOST_HIDDEN_BYTES = 8 << 20
"""Of memory that their names take, about; one more name takes ``_NAME_BYTES`` beside its letters."""
_NAME_BYTES = 64
_LONGEST_NAME = 4096
"""As Linux has it."""
_DEEPEST = 64
"""Folders below ``disk/``: each is looked at for each file."""
_RATIO_FLOOR_BYTES = 2 << 30
_MAX_RATIO = 200
"""Beyond the floor, a layer that unpacks to more than this many times its size is taken for a bomb."""


@asynccontextmanager
async def open_disk(
    image: str,
    *,
    ca_bundle: str,
    pull_secret: bytes,
    settings: Settings,
    received: Callable[[int], None] | None = None,
) -> AsyncIterator[Source]:
    """The disk in ``image``; what the iterator has given is right only once it has ended.

    ``pull_secret`` is the Secret's ``.dockerconfigjson``, or empty. ``received`` is told of every read.
    """
    visitor = await Visitor.trusting(ca_bundle, settings)
    registry = RemoteRegistry(ImageReference.parse(image), PullSecret(pull_secret), visitor, settings)
    layers = [layer for layer in await layers_of(registry) if layer.is_layer]
    most, hidden = settings.imports.max_download_bytes, _Hidden()
    if sum(layer.size for layer in layers) > most:
        raise PermanentError(
            f"{registry.image} has more than {most} bytes (setting imports.max_download_bytes).", key=FAILED
        )
    for layer in reversed(layers):
        async with AsyncExitStack() as stack:
            coming = _Layer(registry, layer, settings, received)
            tar = TarStream(await coming.open(stack))
            entry = await _first_disk(tar, hidden)
            if entry is not None:
                coming.guard(entry)
                yield Source(entry.size, _to_the_end(tar, coming))
                return
            await tar.drain()
        hidden.below()
    if hidden.link:
        raise PermanentError(
            f"{hidden.link} of {registry.image} is a link, not a disk image; copy the file itself there.",
            key=FAILED,
        )
    raise PermanentError(
        f"{registry.image} has no file in its folder {FOLDER}/, so it is no container disk; build it with "
        "COPY disk.qcow2 /disk/.",
        key=FAILED,
    )


class _Layer:
    """One layer on its way: its bytes are counted and hashed, and all of them must come."""

    def __init__(
        self,
        registry: RemoteRegistry,
        layer: Descriptor,
        settings: Settings,
        received: Callable[[int], None] | None,
    ) -> None:
        self._registry, self._layer, self._settings, self._received = registry, layer, settings, received
        self._right = asyncio.Event()
        self._most = layer.size

    async def open(self, stack: AsyncExitStack) -> AsyncIterator[bytes]:
        """Its tar archive, while ``stack`` is open."""
        path = f"blobs/{self._layer.digest}"

        async def ask(hop: AsyncExitStack, headers: Mapping[str, str]) -> tuple[str, aiohttp.ClientResponse]:
            return await hop.enter_async_context(self._registry.opened(path, headers))

        host, response = await ask(stack, {})
        if response.content_length not in (None, self._layer.size):
            raise self._lie(f"sends {response.content_length}")
        body = Unbroken(stack, response, host, ask=ask, version=Version(by_content=True))
        stream = self._verified(body.blocks(self._settings.imports, self._received))
        first = await anext(stream, b"")
        whole = _again(first, stream)
        if packed := compression(first):
            self._most = max(_RATIO_FLOOR_BYTES, _MAX_RATIO * self._layer.size)
            whole = self._bounded(await stack.enter_async_context(unpacked(whole, packed, self._settings)))
        return whole

    def guard(self, entry: Entry) -> None:
        """PermanentError for a file that claims more bytes than its layer can have."""
        if entry.size > self._most:
            raise PermanentError(
                f"The file {_shown(entry)} of {self._registry.image} claims {entry.size} bytes, more than its "
                f"layer of {self._layer.size} bytes can hold.",
                key=FAILED,
            )

    async def right(self) -> None:
        """Return when all has come and has the digest; what else it is, who reads it is told."""
        await self._right.wait()

    async def _verified(self, blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        algorithm, _, digits = self._layer.digest.partition(":")
        hash_, came = hashlib.new(algorithm), 0
        async for block in blocks:
            came += len(block)
            if came > self._layer.size:
                raise self._lie("sends more")
            await asyncio.to_thread(hash_.update, block)
            yield block
        if came < self._layer.size:
            raise TemporaryError(f"{self._registry.image.registry} ended a layer too early.", key=FAILED)
        if hash_.hexdigest() != digits:
            raise PermanentError(
                f"A layer of {self._registry.image} is not what its manifest says: its {algorithm} is "
                f"{hash_.hexdigest()}, not {digits}.",
                key=FAILED,
            )
        self._right.set()

    async def _bounded(self, blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        came = 0
        async for block in blocks:
            came += len(block)
            if came > self._most:
                raise PermanentError(
                    f"A layer of {self._registry.image} unpacks to more than {_MAX_RATIO} times its size.",
                    key=FAILED,
                )
            yield block

    def _lie(self, what: str) -> PermanentError:
        return PermanentError(
            f"A layer of {self._registry.image} is not what its manifest says: it has {self._layer.size} bytes "
            f"there, and the registry {what}.",
            key=FAILED,
        )


@dataclass
class _Hidden:
    """What layers above have taken away below ``disk/``, or have something else in place of."""

    link: str = ""
    """The first link that was met, for the sentence where there is no file."""
    _names: set[tuple[str, ...]] = field(default_factory=set)
    _of_this_layer: list[tuple[str, ...]] = field(default_factory=list)
    _bytes: int = 0

    def whiteout(self, path: tuple[str, ...]) -> None:
        """One that is in the layer that is read now: it is for those below."""
        *folder, name = path
        self.cover((*folder,) if name == _OPAQUE else (*folder, name.removeprefix(_WHITEOUT)))

    def cover(self, path: tuple[str, ...]) -> None:
        """``path`` is taken in the layer that is read now."""
        self._bytes += sum(len(part) + _NAME_BYTES for part in path)
        if len(self._names) + len(self._of_this_layer) >= _MOST_HIDDEN or self._bytes > _MOST_HIDDEN_BYTES:
            raise PermanentError(f"The image hides or deletes more than {_MOST_HIDDEN} files.", key=FAILED)
        self._of_this_layer.append(path)

    def below(self) -> None:
        """Go on to the layer below."""
        self._names.update(self._of_this_layer)
        self._of_this_layer.clear()

    def hides(self, path: tuple[str, ...]) -> bool:
        return any(path[:length] in self._names for length in range(len(path) + 1))


async def _first_disk(tar: TarStream, hidden: _Hidden) -> Entry | None:
    """The archive at the content of its first file below ``disk/``; None if it has none."""
    while (entry := await tar.next()) is not None:
        path = _path(entry.name)
        if path and path[-1].startswith(_WHITEOUT):
            if path[0] in (FOLDER, _OPAQUE, _WHITEOUT + FOLDER):
                hidden.whiteout(path)
        elif path[:1] != (FOLDER,) or entry.folder or hidden.hides(path):
            continue
        elif entry.sparse:
            raise PermanentError(
                f"The file {_shown(entry)} of the image is stored as a sparse file; build the image without that.",
                key=FAILED,
            )
        elif entry.file and entry.size and len(path) > 1:
            return entry
        else:
            hidden.cover(path)
            hidden.link = hidden.link or (_shown(entry) if entry.link else "")
    return None


def _path(name: str) -> tuple[str, ...]:
    if len(name) > _LONGEST_NAME:
        raise PermanentError(
            f"A layer of the image has an entry whose name has {len(name)} characters, and {_LONGEST_NAME} are "
            "possible.",
            key=FAILED,
        )
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise PermanentError(
            f"A layer of the image has an entry {quotable(name, 80)!r}, which leads out of its folder.", key=FAILED
        )
    if len(parts) > _DEEPEST and parts[0] == FOLDER:
        raise PermanentError(
            f"A layer of the image has an entry {quotable(name, 80)!r} that is more than {_DEEPEST} folders deep.",
            key=FAILED,
        )
    return parts


def _shown(entry: Entry) -> str:
    return quotable(entry.name, 80)


async def _to_the_end(tar: TarStream, layer: _Layer) -> AsyncIterator[bytes]:
    """The file, and then the rest of its layer, which must be right before the file is."""
    async for piece in tar.content():
        yield piece
    await tar.drain()
    await layer.right()


async def _again(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if first:
        yield first
    async for block in rest:
        yield block
