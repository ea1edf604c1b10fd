"""``hv image import``: an image or disk of what is on the web, in a container registry or here."""

from __future__ import annotations

import argparse
import base64
import os

from hyperd.cli import upload
from hyperd.cli.options import client_of
from hyperd.errors import BadRequest, Conflict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperd.resources.schema.kind import Object

EXAMPLES = """\
  hv image import https://images.example.org/debian-12.qcow2 vi/debian
  hv image import docker://registry.example.org/images/debian:12 cvi/debian --pull-secret registry
  hv image import https://images.example.org/root.raw.xz vd/root --size 20Gi --checksum sha256=…
  hv image import ./debian-12.qcow2 vi/debian            the same as hv upload

The same with curl alone, on the host; it is there when status.phase is Ready:
  curl --unix-socket /run/hyperd/hyperd.sock -H 'Content-Type: application/json' \\
    http://hv/apis/virtualization.deckhouse.io/v1alpha2/namespaces/default/virtualimages -d '
    {"metadata": {"name": "debian"}, "spec": {"storage": "ContainerRegistry", "dataSource":
      {"type": "HTTP", "http": {"url": "https://images.example.org/debian-12.qcow2"}}}}'
"""

_WEB = ("http://", "https://")
_REGISTRIES = ("docker://", "oci://")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("action", choices=("import",), help="what to do")
    parser.add_argument("source", help="https://…, docker://REGISTRY/REPOSITORY:TAG, a file, or -")
    upload.of_new_object(parser)
    parser.add_argument("--ca", default="", metavar="FILE", help="certificates of the server's authorities, PEM")
    parser.add_argument("--pull-secret", default="", metavar="NAME", help="Secret with the registry's credentials")


def run(args: argparse.Namespace) -> int:
    """Make it, and wait until it can be used."""
    source = _source(args)
    if source is None:
        if args.ca or args.pull_secret:
            raise BadRequest("--ca and --pull-secret are of what is fetched, and a file is sent.")
        args.file = args.source
        return upload.run(args)
    client = client_of(args)
    resource, name = upload.target(args.target, client)
    namespace = client.home.namespace if resource.namespaced else None
    if args.pull_secret and not resource.namespaced:
        source["containerImage"]["imagePullSecret"]["namespace"] = client.home.namespace
    if client.find(resource, namespace, name) is not None:
        raise Conflict(f"{resource.kind} {name} is there already; delete it, or take another name.")
    upload.create(client, resource, name, source, args)
    upload.wait_ready(client, resource, name, timeout=args.timeout)
    return 0


def _source(args: argparse.Namespace) -> Object | None:
    """The ``dataSource`` that is fetched; None for a file. Raises BadRequest for what cannot be told."""
    text, found = str(args.source), upload.checksums(args)
    fetched: Object = {"caBundle": _bundle(args.ca)} if args.ca else {}
    if text.startswith(_WEB):
        if args.pull_secret:
            raise BadRequest("--pull-secret is of a registry: docker://REGISTRY/REPOSITORY:TAG.")
        return {"type": "HTTP", "http": {"url": text, **({"checksum": found} if found else {}), **fetched}}
    prefix = next((prefix for prefix in _REGISTRIES if text.startswith(prefix)), "")
    if prefix:
        if found:
            raise BadRequest("A container image has no checksum beside it: name it by its digest, @sha256:….")
        if args.pull_secret:
            fetched["imagePullSecret"] = {"name": args.pull_secret}
        return {"type": "ContainerImage", "containerImage": {"image": text.removeprefix(prefix), **fetched}}
    if "://" in text:
        raise BadRequest(f"{text}: write https://…, docker://REGISTRY/REPOSITORY:TAG, or the name of a file.")
    return None


def _bundle(path: str) -> str:
    with open(os.path.expanduser(path), "rb") as file:
        return base64.b64encode(file.read()).decode()
