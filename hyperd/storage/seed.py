"""cloud-init NoCloud seeds: how a guest gets its user data.

A seed is a raw image with a FAT volume labelled ``cidata``, given to the guest as a read-only virtio disk (cloud
kernels have no AHCI, so a SATA CD-ROM would not be seen). It holds what the user wrote, byte for byte, as gzip and
Latin-1 are cloud-init's to read. It may be secret: mode 0600, never logged, removed with the VM. There is no
network-config: addresses come by DHCP.
"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

from hyperd import durable
from hyperd.errors import PermanentError
from hyperd.imagefile import files
from hyperd.imagefile.handle import DiskFormat, FileHandle
from hyperd.settings import Settings
from hyperd.storage import fat
from hyperd.storage.interface import UID, check_uid

_FILE = re.compile(UID.pattern + r"\.img")
_LABEL = "cidata"


class SeedStore:
    """One raw image ``<uid>.img`` per VM in ``settings.seeds_dir``."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.seeds_dir

    def handle(self, uid: str) -> FileHandle:
        """What the seed of the VM ``uid`` is or will be opened by; ValueError for what is no uid."""
        return FileHandle(self._folder / f"{check_uid(uid)}.img", DiskFormat.RAW)

    async def clean(self) -> None:
        """At start: make the folder, remove temporary files that a crash left."""
        await asyncio.to_thread(self._clean)

    async def write(self, uid: str, *, hostname: str, user_data: bytes) -> FileHandle:
        """Create or replace the seed; the same input gives the same bytes, and then the file stays untouched.

        Raises TemporaryError without space, PermanentError if ``user_data`` is too large.
        """
        made = self.handle(uid)
        await asyncio.to_thread(self._write, made.path, _documents(uid, hostname=hostname, user_data=user_data))
        return made

    async def remove(self, uid: str) -> None:
        """Delete the seed; nothing to do is fine."""
        await asyncio.to_thread(files.unlink, self.handle(uid).path)

    async def inventory(self) -> list[str]:
        """The uids that have a seed."""
        found = await asyncio.to_thread(files.named, self._folder, _FILE)
        return [path.stem for path in found]

    def _write(self, path: Path, documents: dict[str, bytes]) -> None:
        try:
            image = fat.volume(_LABEL, documents)
        except ValueError:
            raise PermanentError(
                "The cloud-init user data is larger than 7 MiB; fetch the bulk of it from inside the guest."
            ) from None
        files.folder(self._folder)
        if path.exists() and path.read_bytes() == image:
            return
        with files.full_disk_is_temporary(f"The cloud-init seed of {path.stem} cannot be written"):
            durable.write(path, image, made=files.temporary(path))

    def _clean(self) -> None:
        for path in files.folder(self._folder).iterdir():
            if files.is_temporary(path):
                files.unlink(path)


def _documents(uid: str, *, hostname: str, user_data: bytes) -> dict[str, bytes]:
    """cloud-init's files; JSON is YAML, and quotes whatever the hostname holds."""
    meta = json.dumps({"instance-id": uid, "local-hostname": hostname})
    return {"user-data": user_data, "meta-data": meta.encode() + b"\n"}
