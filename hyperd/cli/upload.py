"""``hv upload``: a file into an image or disk, which it creates where there is none."""

from __future__ import annotations

import argparse
import os
import stat
import sys

from hyperd.cli.meter import Meter
from hyperd.cli.options import client_of, seconds
from hyperd.cli.waiting import Progress, follow
from hyperd.client import kinds, sanitize
from hyperd.client.health import health
from hyperd.client.uploading import upload
from hyperd.errors import BadRequest, Conflict, InternalError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from hyperd.client.resource import Resource
    from hyperd.client.sync import Client
    from hyperd.client.uploading import Readable
    from hyperd.resources.schema.kind import Object

EXAMPLES = """\
  hv upload debian-12.qcow2 vi/debian      makes the VirtualImage "debian" of it
  hv upload disk.vmdk.xz vd/root --size 20Gi
  hv upload install.iso cvi/install        for all namespaces
  xzcat big.raw.xz | hv upload - vd/big    what comes on standard input

qcow2, raw, vmdk, vdi or iso, as it is or compressed by gzip, xz, zstd or bzip2.

The same with curl alone, on the host or with --cacert over the network; the address is good for one upload:
  hv get vi debian -o yaml | grep -A2 imageUploadURLs
  curl -T debian-12.qcow2 --unix-socket /run/hyperd/hyperd.sock http://hv/upload/SECRET
"""

_KINDS = ("VirtualImage", "ClusterVirtualImage", "VirtualDisk")
_WAITS, _READY = "WaitForUserUpload", "Ready"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("file", help="what to send; - is standard input")
    of_new_object(parser)


def of_new_object(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of what makes an image or disk where there is none."""
    parser.add_argument("target", metavar="KIND/NAME", help="vi/NAME, cvi/NAME or vd/NAME")
    parser.add_argument("--size", default="", help="size of a new disk (default: the image's)")
    parser.add_argument("--storage-class", default="", metavar="NAME", help="of a new disk")
    parser.add_argument(
        "--checksum",
        action="append",
        default=[],
        metavar="NAME=HEX",
        help="what the content must add up to, for a new object: sha256=…; may be repeated",
    )
    parser.add_argument("-t", "--timeout", type=seconds, default=600.0, help="how long to wait for Ready (10m)")


def run(args: argparse.Namespace) -> int:
    """Send it, and wait until it can be used."""
    client = client_of(args)
    resource, name = target(args.target, client)
    with _opened(args.file) as file:
        send(client, resource, name, file, _size(file), args)
    wait_ready(client, resource, name, timeout=args.timeout)
    return 0


def send(
    client: Client, resource: Resource, name: str, file: Readable, size: int | None, args: argparse.Namespace
) -> None:
    """Have ``file`` as the content of an image or disk, which the flags describe where there is none."""
    namespace = client.home.namespace if resource.namespaced else None
    found = client.find(resource, namespace, name)
    if found is None:
        create(client, resource, name, _waiting(args), args)
    elif not _says(found, args):
        raise BadRequest(
            f"{resource.kind} {name} is there already, and its spec says otherwise: leave --size, "
            "--storage-class and --checksum out, or delete it first."
        )
    _wait(client, resource, namespace, name)
    print(sanitize.line(_send(client, resource, name, file, size)))


def target(text: str, client: Client) -> tuple[Resource, str]:
    """Kind and name of an image or disk. Raises BadRequest for what is none."""
    word, slash, name = text.partition("/")
    resource = kinds.resolve(word, client)[0]
    if not (slash and name) or resource.kind not in _KINDS:
        raise BadRequest(f"{text}: write vi/NAME, cvi/NAME or vd/NAME.")
    return resource, name


def create(client: Client, resource: Resource, name: str, source: Object, args: argparse.Namespace) -> None:
    """A new object of ``source``, with what the flags say of a disk."""
    namespace = client.home.namespace if resource.namespaced else None
    client.create(resource, namespace, _object(resource, name, source, args))
    print(f"{resource.singular}/{name} created")


def wait_ready(client: Client, resource: Resource, name: str, *, timeout: float) -> None:
    """Until it can be used. Raises InternalError with the reason where it failed."""
    namespace = client.home.namespace if resource.namespaced else None
    done = follow(client, resource, namespace, name, until=frozenset((_READY,)), timeout=timeout)
    state = health(done)
    if state.word != _READY:
        raise InternalError(f"{resource.kind} {name} is {state.word}: {state.reason}")
    print(f"{resource.singular}/{name} is Ready")


def _opened(path: str) -> BinaryIO:
    return sys.stdin.buffer if path == "-" else open(os.path.expanduser(path), "rb")


def _size(file: BinaryIO) -> int | None:
    """Bytes of a file or a block device, None where the end is not known."""
    mode = os.fstat(file.fileno()).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
        return None
    at = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(at)
    return size - at


def _waiting(args: argparse.Namespace) -> Object:
    """The source of a new object that waits for an upload."""
    found = checksums(args)
    return {"type": "Upload", **({"upload": {"checksum": found}} if found else {})}


def checksums(args: argparse.Namespace) -> dict[str, str]:
    """Those of the flags, by algorithm."""
    return {key: digits for key, _, digits in (entry.partition("=") for entry in args.checksum)}


def _says(obj: Object, args: argparse.Namespace) -> bool:
    """Whether what the flags say of a new object is said of ``obj``, as where the same command is given again."""
    spec = obj.get("spec") or {}
    claim = spec.get("persistentVolumeClaim") or {}
    given = ((spec.get("dataSource") or {}).get("upload") or {}).get("checksum") or {}
    return (
        args.size in ("", claim.get("size"))
        and args.storage_class in ("", claim.get("storageClassName"))
        and all(given.get(name) == digits for name, digits in checksums(args).items())
    )


def _object(resource: Resource, name: str, source: Object, args: argparse.Namespace) -> Object:
    spec: Object = {"dataSource": source}
    claim = {"size": args.size, "storageClassName": args.storage_class}
    claim = {key: value for key, value in claim.items() if value}
    if claim and resource.kind != "VirtualDisk":
        raise BadRequest("--size and --storage-class are of disks: vd/NAME.")
    if claim:
        spec["persistentVolumeClaim"] = claim
    if resource.kind == "VirtualImage":
        spec["storage"] = "ContainerRegistry"
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": name}, "spec": spec}


def _wait(client: Client, resource: Resource, namespace: str | None, name: str) -> None:
    """Until it takes an upload. Raises Conflict where it never will."""
    until = frozenset((_WAITS, _READY))
    obj = client.get(resource, namespace, name)
    type_ = ((obj.get("spec") or {}).get("dataSource") or {}).get("type")
    if type_ != "Upload":
        raise Conflict(f"{resource.kind} {name} is there already, and not made from an upload.")
    state = health(obj)
    if state.word not in until:
        state = health(follow(client, resource, namespace, name, until=until, timeout=60.0))
    if state.word == _READY:
        raise Conflict(f"{resource.kind} {name} is Ready already; delete it, or take another name.")
    if state.word != _WAITS:
        raise Conflict(f"{resource.kind} {name} takes no upload, it is {state.word}: {state.reason}")


def _send(client: Client, resource: Resource, name: str, file: Readable, size: int | None) -> str:
    shown = Progress(f"{resource.singular}/{name}")
    meter = Meter(size, "sent", "sent; being checked and stored")

    def told(sent: int) -> None:
        if text := meter.text(sent):
            shown.show(text)

    try:
        return upload(client.home, resource, name, file, size=size, told=told)
    finally:
        shown.done()
