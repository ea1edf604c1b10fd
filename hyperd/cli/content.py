"""What commands share that take the content of a disk, a snapshot or an image out of a home."""

from __future__ import annotations

import argparse

from hyperd.cli.meter import Meter
from hyperd.client import kinds, paths
from hyperd.client.oci import Repository
from hyperd.errors import BadRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from hyperd.cli.waiting import Progress
    from hyperd.client.home import Home
    from hyperd.client.resource import Resource
    from hyperd.client.sync import Client

_KINDS = ("VirtualDisk", "VirtualDiskSnapshot", "VirtualImage", "ClusterVirtualImage")


def source(text: str, client: Client) -> tuple[Resource, str]:
    """Kind and name of what holds something. Raises BadRequest."""
    word, slash, name = text.partition("/")
    resource = kinds.resolve(word, client)[0]
    if not (slash and name) or resource.kind not in _KINDS or "/" in name:
        raise BadRequest(f"{text}: write vd/NAME, vds/NAME, vi/NAME or cvi/NAME.")
    return resource, name


def place(home: Home, resource: Resource, name: str, format_: str) -> str:
    """The path at which it is read."""
    scope = f"/namespaces/{paths.segment(home.namespace)}" if resource.namespaced else ""
    return f"{paths.SUBRESOURCES}{scope}/{resource.plural}/{paths.segment(name)}/export?format={format_}"


def told(shown: Progress) -> Callable[[int, int], None]:
    """Shows how far it is, for who calls it with the bytes that have come and those of all."""
    meter: Meter | None = None

    def tell(done: int, size: int) -> None:
        nonlocal meter
        if meter is None:
            meter = Meter(size, "come", "all has come", begun=done)
        if text := meter.text(done):
            shown.show(text)

    return tell


def of_registry(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of what goes to a registry or comes from one."""
    group = parser.add_argument_group("registry")
    group.add_argument("--plain-http", action="store_true", help="the registry is reached without TLS")
    group.add_argument(
        "--auth-file", default="", metavar="FILE",
        help="credentials, as podman, skopeo or docker login keep them (default: where these do)",
    )  # fmt: skip


def repository(reference: str, args: argparse.Namespace, *, tag: str = "") -> Repository:
    """The one that the flags mean; ``tag`` is for a reference without one. Raises BadRequest."""
    if tag and ":" not in reference.rpartition("/")[2]:
        reference = f"{reference}:{tag}"
    return Repository(reference, plain=args.plain_http, auth_file=args.auth_file)
