"""Backups of disks in an OCI registry: what changed since the last one goes there, any one comes back whole."""

from __future__ import annotations

import json

from hyperd.client import chunks
from hyperd.client.chunks import CHUNK_BYTES, Index, Parsed, Place
from hyperd.client.oci import Blob, BlobUpload, Repository
from hyperd.client.pushing import fetch
from hyperd.errors import NotFound, PermanentError
from hyperd.imagefile.layout import ClusterMap, Qcow2Layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hyperd.client.home import Home

LATEST = "latest"
"""The tag that the last backup has as well, for the next one."""
_LAYER_CHUNKS = 1024
"""Of one layer: 4 GiB, as not every registry takes larger ones."""
_FULL_LAYERS = 500
"""From so many on the next backup is a full one: what a restore reads is scattered by then."""
_READ_CHUNKS = 16
"""In one request of a restore."""


class Backup:
    """What one backup did."""

    def __init__(self, index: Index, digest: str, new: int) -> None:
        self.index = index
        self.digest = digest
        self.new = new
        """Chunks that were sent."""


def back_up(
    home: Home,
    where: str,
    to: Repository,
    *,
    source: str,
    created: str,
    full: bool,
    told: Callable[[int, int], None],
    said: Callable[[str], None],
) -> Backup:
    """Send the raw content at the path ``where``, but what the last backup in the same repository has.

    Nothing is tagged unless all of it came as the home has it. Raises what both sides refuse it with.
    """
    before, parent = _last(to, said, full=full)
    sink = _Chunks(to, before)
    try:
        size = fetch(home, where, sink, told=told, said=said)
        index = sink.end(size)
    except BaseException:
        sink.cancel()
        raise
    described = to.put_blob(chunks.config(size=size, source=source, created=created, parent=parent))
    kept = to.put_blob(index.encoded())
    content = chunks.manifest(described, kept, [Blob(layer, index.sizes[layer]) for layer in index.layers()])
    digest = to.put_manifest(content)
    to.put_manifest(content, tag=LATEST)
    return Backup(index, digest, sink.new)


def open_backup(source: Repository) -> Index:
    """What the tag leads to. Raises NotFound, and PermanentError for what is no backup."""
    content = source.manifest()
    if content is None:
        raise NotFound(f"{source} is not there.")
    return _index(source, Parsed(content))


class Restored:
    """A backup as a qcow2 image that is read once, from its begin; each chunk is what its digest says."""

    def __init__(self, source: Repository, index: Index) -> None:
        found = ClusterMap(index.size)
        for number, entry in enumerate(index.chunks):
            if entry is not None:
                start = number * CHUNK_BYTES
                found.add(start, min(CHUNK_BYTES, index.size - start))
        self._layout = Qcow2Layout(found)
        self.size = self._layout.size
        self._pieces = self._made(source, index)
        self._kept = bytearray()

    def read(self, count: int) -> bytes:
        """The next bytes, fewer only at the end."""
        while len(self._kept) < count and (piece := next(self._pieces, b"")):
            self._kept += piece
        given = bytes(self._kept[:count])
        del self._kept[:count]
        return given

    def _made(self, source: Repository, index: Index) -> Iterator[bytes]:
        coming = _chunks_of(source, index)
        numbers = (number for number, entry in enumerate(index.chunks) if entry is not None)
        current, chunk = -1, b""
        for run in self._layout.runs(0, self._layout.size):
            if run.data:
                yield run.data
            at, end = run.offset, run.offset + run.length
            while at < end:
                number, within = divmod(at, CHUNK_BYTES)
                while current < number:
                    current, chunk = next(numbers), next(coming)
                yield chunk[within : within + end - at]
                at += min(end - at, CHUNK_BYTES - within)


class _Chunks:
    """Takes a disk's bytes in order, and sends those chunks that are nowhere yet."""

    def __init__(self, to: Repository, before: Index | None) -> None:
        self._to = to
        self._known: dict[bytes, Place] = {}
        self._sizes = {} if before is None else dict(before.sizes)
        for entry in () if before is None else before.chunks:
            if entry is not None:
                self._known.setdefault(*entry)
        self._found: list[bytes | None] = []
        self._kept = bytearray()
        self._upload: BlobUpload | None = None
        self._here: list[bytes] = []
        """Digests of the chunks of the layer that is being sent."""
        self.new = 0

    def write(self, data: bytes, /) -> int:
        self._kept += data
        while len(self._kept) >= CHUNK_BYTES:
            self._take(bytes(self._kept[:CHUNK_BYTES]))
            del self._kept[:CHUNK_BYTES]
        return len(data)

    def flush(self) -> None:
        """Nothing: a layer has its size."""

    def end(self, size: int) -> Index:
        """All has come."""
        if self._kept:
            self._take(bytes(self._kept).ljust(CHUNK_BYTES, b"\0"))
            self._kept.clear()
        self._close()
        found = [None if digest is None else (digest, self._known[digest]) for digest in self._found]
        return Index(size, found, self._sizes)

    def cancel(self) -> None:
        if self._upload is not None:
            self._upload.cancel()

    def _take(self, chunk: bytes) -> None:
        if chunks.is_zeros(chunk):
            self._found.append(None)
            return
        digest = chunks.digest_of(chunk)
        self._found.append(digest)
        if digest in self._known:
            return
        if self._upload is None:
            self._upload = BlobUpload(self._to)
        self._upload.write(chunk)
        # In which layer is known once that is whole.
        self._known[digest] = Place("", len(self._here))
        self._here.append(digest)
        self.new += 1
        if len(self._here) == _LAYER_CHUNKS:
            self._close()

    def _close(self) -> None:
        if self._upload is None:
            return
        layer = self._upload.commit()
        self._upload = None
        self._sizes[layer.digest] = layer.size
        for digest in self._here:
            self._known[digest].layer = layer.digest
        self._here.clear()


def _last(to: Repository, said: Callable[[str], None], *, full: bool) -> tuple[Index | None, str]:
    """The last backup of the repository, if it can be gone on from, and its manifest's digest.

    Raises PermanentError where something else has its tag, which is not taken away.
    """
    content, digest = to.tagged(LATEST)
    if content is None:
        return None, ""
    parsed = Parsed(content)
    if full or len(parsed.layers) >= _FULL_LAYERS:
        return None, ""
    said("looking what the last backup has")
    if not all(to.has_blob(layer.digest) for layer in parsed.layers):
        return None, ""
    return _index(to, parsed), digest


def _index(source: Repository, parsed: Parsed) -> Index:
    try:
        told = json.loads(source.blob(parsed.config.digest))
    except (ValueError, RecursionError) as err:
        raise PermanentError(f"{source} is no backup of a disk: it tells nothing of itself.") from err
    size = chunks.disk_size(told)
    body = source.blob(parsed.index.digest, most=chunks.MOST_INDEX_BYTES)
    return Index.decoded(size, body, parsed.layers)


def _chunks_of(source: Repository, index: Index) -> Iterator[bytes]:
    """Those that are not zeros, in the disk's order. Raises PermanentError for one that is damaged."""
    for layer, first, digests in chunks.runs(index, _READ_CHUNKS):
        kept, at = bytearray(), 0
        start = first * CHUNK_BYTES
        for piece in source.blob_part(layer, start, start + len(digests) * CHUNK_BYTES):
            kept += piece
            while len(kept) >= CHUNK_BYTES and at < len(digests):
                chunk = bytes(kept[:CHUNK_BYTES])
                del kept[:CHUNK_BYTES]
                if chunks.digest_of(chunk) != digests[at]:
                    raise PermanentError(f"A chunk of {source} is damaged in the registry: layer {layer}.")
                at += 1
                yield chunk
        if at < len(digests) or kept:
            raise PermanentError(f"The registry has less of {source} than it should: layer {layer}.")
