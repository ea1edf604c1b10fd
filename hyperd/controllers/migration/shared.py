"""Files that two nodes reach: QEMU opens them anew when a guest goes on, as its own user.

The libvirt of a node that a guest has left, or has not come to, gives its files back to root. It spares those of
which it knows that other nodes reach them (``virFileIsSharedFS``), and it knows few kinds of file systems.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pwd
from collections.abc import Collection
from pathlib import Path

from hyperd.controllers.context import Context
from hyperd.controllers.machine.held import serial_of
from hyperd.imagefile.handle import FileHandle

_log = logging.getLogger(__name__)


async def give_to_qemu(context: Context, uid: str, disks: Collection[str]) -> None:
    """The files of those ``disks`` of the guest ``uid``, by their uids; before it goes on."""
    if not disks:
        return
    sources, user = await context.hypervisor.sources(uid), context.settings.hypervisor.qemu_user
    for disk in disks:
        opened = sources.get(serial_of(disk))
        if isinstance(opened, FileHandle):
            await asyncio.to_thread(_give, opened.path, user)


def _give(path: Path, user: str) -> None:
    try:
        os.chown(path, pwd.getpwnam(user).pw_uid, -1, follow_symlinks=False)
    except (KeyError, OSError) as error:  # as of NFS without root's rights, where libvirt changes nothing either
        _log.debug("%s is not given to %s: %s", path, user, error)
