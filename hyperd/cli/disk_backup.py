"""``hv disk backup`` and ``hv disk restore``: disks into a registry, but what it has already, and back."""

from __future__ import annotations

import argparse
import time

from hyperd.cli import content, upload
from hyperd.cli.options import client_of
from hyperd.cli.waiting import Progress
from hyperd.client.backup import Restored, back_up, open_backup
from hyperd.client.chunks import CHUNK_BYTES
from hyperd.client.rates import spelled
from hyperd.errors import BadRequest


def backup(args: argparse.Namespace) -> int:
    """Send what the last one in the repository lacks."""
    if len(args.more) != 1:
        raise BadRequest("Say where to: hv disk backup vd/root REGISTRY/REPOSITORY[:TAG].")
    client = client_of(args)
    resource, name = content.source(args.source, client)
    now = time.gmtime()
    to = content.repository(args.more[0], args, tag=time.strftime("%Y%m%d-%H%M%S", now))
    shown = Progress(f"{resource.singular}/{name}")
    scope = f"{client.home.namespace}/" if resource.namespaced else ""
    try:
        made = back_up(
            client.home,
            content.place(client.home, resource, name, "raw"),
            to,
            source=f"{resource.kind} {scope}{name}",
            created=time.strftime("%Y-%m-%dT%H:%M:%SZ", now),
            full=args.full,
            told=content.told(shown),
            said=shown.show,
        )
    finally:
        shown.done()
        to.close()
    sent = spelled(made.new * CHUNK_BYTES)
    word = f"{resource.singular}/{name}"
    print(f"Backed up {word} as {to}: {spelled(made.index.size)}, {sent} of it sent. Digest {made.digest}")
    return 0


def restore(args: argparse.Namespace) -> int:
    """Make a disk of one, and wait until it can be used."""
    if len(args.more) != 1:
        raise BadRequest("Say what to make of it: hv disk restore REGISTRY/REPOSITORY:TAG vd/root-2.")
    client = client_of(args)
    resource, name = upload.target(args.more[0], client)
    if resource.kind != "VirtualDisk":
        raise BadRequest(f"{args.more[0]}: a disk is restored to a disk, vd/NAME.")
    source = content.repository(args.source, args)
    try:
        image = Restored(source, open_backup(source))
        upload.send(client, resource, name, image, image.size, args)
    finally:
        source.close()
    upload.wait_ready(client, resource, name, timeout=args.timeout)
    return 0
