"""What a home holds into an OCI registry, as a container disk: an image with one file below ``disk/``."""

from __future__ import annotations

import tarfile

from hyperd.client.downloading import Part, download, expected, plain_errors
from hyperd.client.oci import MANIFEST_TYPE, BlobUpload, Repository, encoded
from hyperd.errors import InternalError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from hyperd.client.downloading import Sink
    from hyperd.client.home import Home
    from hyperd.client.oci import Blob

_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_TITLE = "org.opencontainers.image.title"
"""By which oras, which knows files and no images, calls what it pulls."""
_QEMU_ID = 107
_BLOCK = tarfile.BLOCKSIZE


def push(
    home: Home,
    where: str,
    to: Repository,
    *,
    suffix: str,
    told: Callable[[int, int], None],
    said: Callable[[str], None],
) -> str:
    """Push the content at the path ``where`` of ``home``; returns the manifest's digest.

    Nothing is tagged unless all of it came as the home has it. ``told`` hears of bytes, ``said`` of what else is
    done. Raises what both sides refuse it with.
    """
    upload = BlobUpload(to)
    try:
        layer = _layer(home, where, upload, suffix=suffix, told=told, said=said)
    except BaseException:
        upload.cancel()
        raise
    config = to.put_blob(
        encoded(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {"WorkingDir": "/"},
                "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
            }
        )
    )
    return to.put_manifest(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": config.described(_CONFIG_TYPE),
            "layers": [{**layer.described(_LAYER_TYPE), "annotations": {_TITLE: "disk.tar"}}],
        }
    )


def fetch(
    home: Home,
    where: str,
    sink: Sink,
    *,
    told: Callable[[int, int], None],
    said: Callable[[str], None],
) -> int:
    """The content into ``sink``, whose errors are raised as they are; returns its size, once it is found right."""
    part = Part(sink)
    with plain_errors():
        download(home, where, part, told=told)
    if expected(home, where, part, said=said) != part.sha256.hexdigest():
        raise InternalError("What came is not what the server has by now; try it again.")
    return part.done


def _layer(
    home: Home,
    where: str,
    upload: BlobUpload,
    *,
    suffix: str,
    told: Callable[[int, int], None],
    said: Callable[[str], None],
) -> Blob:
    def begin(done: int, size: int) -> None:
        # The name stands before the content, with its size.
        if not upload.size:
            upload.write(
                _entry("disk/", tarfile.DIRTYPE, 0) + _entry(f"disk/disk.{suffix}", tarfile.REGTYPE, size)
            )
        told(done, size)

    size = fetch(home, where, upload, told=begin, said=said)
    upload.write(bytes(-size % _BLOCK + 2 * _BLOCK))
    return upload.commit()


def _entry(name: str, kind: bytes, size: int) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.type, entry.size, entry.mode = kind, size, 0o755 if kind == tarfile.DIRTYPE else 0o644
    entry.uid = entry.gid = _QEMU_ID
    return entry.tobuf(tarfile.GNU_FORMAT)
