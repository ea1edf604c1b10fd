"""What an image that is being fetched shall be, as it is written down beside its place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import orjson

from hyperd import durable
from hyperd.errors import PermanentError
from hyperd.imagefile.lazy import LazyFiles
from registry.chunks import ChunkDigests
from registry.layout import DiskFile, Layer


@dataclass(frozen=True)
class LazyRecord:
    """The image ``disk`` in ``layer`` of ``repository``:``tag``; ``chunks`` are the digests of its parts."""

    repository: str
    tag: str
    layer: Layer
    disk: DiskFile
    chunks: ChunkDigests

    def write(self, files: LazyFiles) -> None:
        """Durably. Blocks; raises OSError."""
        body = {
            "repository": self.repository,
            "tag": self.tag,
            "layer": {"digest": self.layer.digest, "size": self.layer.size},
            "labels": self.disk.labels(),
            "chunks": self.chunks.to_json(),
        }
        durable.write(files.record, orjson.dumps(body))

    @classmethod
    def read(cls, files: LazyFiles) -> Self:
        """Blocks. Raises FileNotFoundError, PermanentError for a damaged one."""
        try:
            content = orjson.loads(files.record.read_bytes())
            layer = Layer(content["layer"]["digest"], content["layer"]["size"])
            disk = DiskFile.from_labels(content["labels"])
            chunks = ChunkDigests.from_json(content["chunks"], of=disk.size)
            if chunks is None or layer.digest != f"sha256:{files.digest}":
                raise ValueError("its digests")
            return cls(content["repository"], content["tag"], layer, replace(disk, chunks=chunks), chunks)
        except (ValueError, KeyError, TypeError) as err:
            raise PermanentError(f"{files.record} is damaged ({err}).") from err
