"""Seeds: how a guest gets its cloud-init user data, or sysprep's answers.

For cloud-init (NoCloud) a seed is a raw image with a FAT volume labelled ``cidata``, given to the guest as a
read-only virtio disk (cloud kernels have no AHCI, so a SATA CD-ROM would not be seen). There is no network-config:
addresses come by DHCP. For sysprep it is a CD-ROM, which Windows looks through for answer files. Either holds what
the user wrote, byte for byte, as gzip and Latin-1 are cloud-init's to read. It may be secret: mode 0600, never
logged, removed with the VM.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path

from hyperd import durable
from hyperd.errors import PermanentError
from hyperd.imagefile import files
from hyperd.imagefile.handle import DiskFormat, FileHandle
from hyperd.settings import Settings
from hyperd.storage import fat, iso
from hyperd.storage.interface import UID, check_uid

_FILE = re.compile(UID.pattern + r"\.img")
_CLOUD_INIT, _SYSPREP = "cidata", "unattendCD"


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
        documents = _documents(uid, hostname=hostname, user_data=user_data)
        await asyncio.to_thread(self._write, made.path, documents, sysprep=False)
        return made

    async def write_answers(self, uid: str, answers: Mapping[str, bytes]) -> FileHandle:
        """Create or replace the seed by a CD-ROM with ``answers``, as ``write`` does."""
        made = self.handle(uid)
        await asyncio.to_thread(self._write, made.path, answers, sysprep=True)
        return made

    async def content(self, uid: str) -> bytes | None:
        """The seed as it is; None without one."""
        try:
            return await asyncio.to_thread(self.handle(uid).path.read_bytes)
        except FileNotFoundError:
            return None

    async def put(self, uid: str, content: bytes) -> FileHandle:
        """Create or replace the seed by what ``content`` gave on another node."""
        made = self.handle(uid)
        await asyncio.to_thread(self._put, made.path, content)
        return made

    async def remove(self, uid: str) -> None:
        """Delete the seed; nothing to do is fine."""
        await asyncio.to_thread(files.unlink, self.handle(uid).path)

    async def inventory(self) -> list[str]:
        """The uids that have a seed."""
        found = await asyncio.to_thread(files.named, self._folder, _FILE)
        return [path.stem for path in found]

    def _write(self, path: Path, documents: Mapping[str, bytes], *, sysprep: bool) -> None:
        image = _sysprep(documents) if sysprep else _cloud_init(documents)
        self._put(path, image)

    def _put(self, path: Path, image: bytes) -> None:
        files.folder(self._folder)
        if path.exists() and path.read_bytes() == image:
            return
        with files.full_disk_is_temporary(f"The seed of {path.stem} cannot be written"):
            durable.write(path, image, made=files.temporary(path))

    def _clean(self) -> None:
        for path in files.folder(self._folder).iterdir():
            if files.is_temporary(path):
                files.unlink(path)


def _cloud_init(documents: Mapping[str, bytes]) -> bytes:
    try:
        return fat.volume(_CLOUD_INIT, documents)
    except ValueError:
        raise PermanentError(
            "The cloud-init user data is larger than 7 MiB; fetch the bulk of it from inside the guest."
        ) from None


def _sysprep(answers: Mapping[str, bytes]) -> bytes:
    try:
        return iso.volume(_SYSPREP, answers)
    except ValueError:
        raise PermanentError(
            f"The sysprep files are larger than 8 MiB, more than {iso.MOST_FILES}, or one has a name of more than "
            f"{iso.MOST_CHARACTERS} characters; fetch the bulk of them from inside the guest."
        ) from None


def _documents(uid: str, *, hostname: str, user_data: bytes) -> dict[str, bytes]:
    """cloud-init's files; JSON is YAML, and quotes whatever the hostname holds."""
    meta = json.dumps({"instance-id": uid, "local-hostname": hostname})
    return {"user-data": user_data, "meta-data": meta.encode() + b"\n"}
