"""``hv disk``: what a disk holds, as a file here or as backups in a registry; disks that grow, come and go."""

from __future__ import annotations

import argparse
import os
import sys

from hyperd.cli import content
from hyperd.cli.options import client_of, seconds
from hyperd.cli.waiting import Progress
from hyperd.client import sanitize
from hyperd.client.downloading import FilePart, Part, download, expected, plain_errors
from hyperd.client.rates import spelled
from hyperd.errors import BadRequest, Conflict, InternalError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperd.client.home import Home
    from hyperd.client.sync import Client

EXAMPLES = """\
  hv disk resize vd/data 20Gi                   or +10Gi, for so much more; machines go on meanwhile
  hv disk attach vd/data vm/web                 to a machine that runs, beside its spec's disks; vi/ and cvi/ too
  hv disk detach vd/data
  hv disk export vd/root                        into root.img; nothing is written where the disk has zeros
  hv disk export vd/root -o root.qcow2          as qcow2, which leaves holes out on the way as well
  hv disk export vds/before-upgrade -o - | zstd > root.img.zst
  hv disk export vi/debian --format qcow2
  hv disk export vd/root --url                  an address from which anybody may read it, once, within ten minutes
  hv disk backup vd/root registry.example.org/backups/root            under a tag made of the time
  hv disk backup vds/nightly registry.example.org/backups/root:monday
  hv disk restore registry.example.org/backups/root:monday vd/root-2  a new disk of it

The disk of a machine that runs is refused: make a snapshot of it (hv snapshot create vd/root) and export that.
A transfer that breaks off is resumed; if hv itself ended, give the same command again. The file is then compared
with hyperd's checksum. To send one back: hv upload FILE vd/NAME.

A backup sends what changed since the last one in the same repository (its tag "latest"), in chunks of 4 MiB by
their sha256; all of the disk is read for that. Each one is whole by itself: any may be restored, and any be
deleted. hv sends it from where it runs, with the credentials that podman, skopeo or docker login have kept there.

The export with curl alone, on the host; with a token over the network (hv token create):
  at=http://hv/apis/subresources.virtualization.deckhouse.io/v1alpha2/namespaces/default/virtualdisks/root
  curl --unix-socket /run/hyperd/hyperd.sock -fo root.img $at/export            ?format=qcow2 for the other one
  curl --unix-socket /run/hyperd/hyperd.sock -fo root.img -C - $at/export       goes on with what is there
  curl --unix-socket /run/hyperd/hyperd.sock -fs "$at/export?checksum=sha256" | sha256sum -c
"""

_ACTIONS = ("export", "backup", "restore", "resize", "attach", "detach")
_QCOW2 = "qcow2"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("action", choices=_ACTIONS, help="what to do")
    parser.add_argument(
        "source",
        metavar="KIND/NAME",
        help="vd/NAME, vds/NAME (a snapshot), vi/NAME or cvi/NAME; to restore, a backup",
    )
    parser.add_argument(
        "more", nargs="*", metavar="SIZE, VM or TARGET",
        help="how large; vm/NAME of the machine; REGISTRY/REPOSITORY[:TAG] of a backup; vd/NAME to restore to",
    )  # fmt: skip
    parser.add_argument("--no-wait", action="store_true", help="ask for it, and do not wait")
    parser.add_argument("-t", "--timeout", type=seconds, default=300.0, help="longest wait (default 5m)")
    parser.add_argument("-o", "--output", default="", metavar="FILE", help="where to; - is standard output")
    parser.add_argument("--format", choices=("raw", _QCOW2), default="", help="by FILE's name, else raw")
    parser.add_argument("-f", "--force", action="store_true", help="replace FILE where there is one")
    parser.add_argument("--url", action="store_true", help="print an address that is good for one export instead")
    parser.add_argument("--no-check", action="store_true", help="do not compare checksums at the end")
    group = parser.add_argument_group("backup and restore")
    group.add_argument("--full", action="store_true", help="send all of it, whatever the last backup has")
    group.add_argument("--size", default="", help="of the new disk (default: as it was)")
    group.add_argument("--storage-class", default="", metavar="NAME", help="of the new disk")
    content.of_registry(parser)
    parser.set_defaults(checksum=[])


def run(args: argparse.Namespace) -> int:
    """Do it."""
    if args.action == "export":
        return _export(args)
    if args.action in ("backup", "restore"):
        from hyperd.cli import disk_backup

        return {"backup": disk_backup.backup, "restore": disk_backup.restore}[args.action](args)
    from hyperd.cli import devices

    return {"resize": devices.resize, "attach": devices.attach, "detach": devices.detach}[args.action](args)


def _export(args: argparse.Namespace) -> int:
    """Fetch it, compare, and give the file its name."""
    if args.more:
        raise BadRequest(f"{args.more[0]}: an export takes one source, and -o FILE.")
    client = client_of(args)
    resource, name = content.source(args.source, client)
    format_ = args.format or (_QCOW2 if args.output.endswith(f".{_QCOW2}") else "raw")
    where = content.place(client.home, resource, name, format_)
    if args.url:
        print(sanitize.line(str(client.call("GET", f"{where}&address=true").get("url", ""))))
        return 0
    path = os.path.expanduser(args.output) or f"{name}.{_QCOW2 if format_ == _QCOW2 else 'img'}"
    if path != "-" and os.path.lexists(path) and not args.force:
        raise Conflict(f"{path} is there already: remove it, name another file with -o, or say --force.")
    if path == "-" and sys.stdout.isatty():
        raise BadRequest("What a disk holds is not for a terminal: name a file with -o, or a pipe behind -o -.")
    shown = Progress(f"{resource.singular}/{name}")
    if path == "-":
        _printed(client.home, where, shown, check=not args.no_check)
        return 0
    part = FilePart(path)
    try:
        part.take_up(lambda done: shown.show(f"reading what is there already, {spelled(done)}"))
        with plain_errors():
            download(client.home, where, part, told=content.told(shown))
            said = "" if args.no_check else _compared(client.home, where, part, shown)
            part.publish()
    finally:
        part.close()
        shown.done()
    print(f"Wrote {path}, {spelled(part.done)}{_taken(path)}.{said}")
    return 0


def _printed(home: Home, where: str, shown: Progress, *, check: bool) -> None:
    """Onto standard output."""
    part = Part(sys.stdout.buffer)
    try:
        with plain_errors():
            download(home, where, part, told=content.told(shown))
        if check:
            _compared(home, where, part, shown)
    finally:
        shown.done()


def _compared(home: Home, where: str, part: Part, shown: Progress) -> str:
    """A sentence about the checksum. Raises InternalError where it is another one, and removes what came."""
    own, wanted = part.sha256.hexdigest(), expected(home, where, part, said=shown.show)
    if not wanted:
        return " It was not checked: the content has changed since."
    if wanted != own:
        part.discard()
        raise InternalError(
            f"What came is damaged: its sha256 is {own}, and should be {sanitize.line(wanted)}. Export it again."
        )
    return f" sha256 {own}"


def _taken(path: str) -> str:
    """How much it takes on the disk, where that is less."""
    found = os.stat(path)
    taken = found.st_blocks * 512
    return f", {spelled(taken)} of them on the disk" if taken < found.st_size // 2 else ""


def completions(client: Client, words: list[str], current: str) -> list[str]:
    """What may come after ``words``, the first of which is the action."""
    from hyperd.cli.completion import names_of

    if len(words) > 1:
        wanted = words[0] in ("attach", "detach") and len(words) == 2
        return [f"vm/{name}" for name in names_of(client, "vm")] if wanted else []
    shorts = ("vd", "vds", "vi", "cvi")
    short, slash, _ = current.partition("/")
    if not slash:
        return [f"{each}/" for each in shorts]
    return [f"{short}/{name}" for name in names_of(client, short)] if short in shorts else []
