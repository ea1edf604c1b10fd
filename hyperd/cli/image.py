"""``hv image``: an image or disk of what is on the web, in a registry or here, and back into a registry."""

from __future__ import annotations

import argparse
import base64
import os

from hyperd.cli import content, upload
from hyperd.cli.options import client_of
from hyperd.client.origin import origin
from hyperd.errors import BadRequest, Conflict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperd.resources.schema.kind import Object

EXAMPLES = """\
  hv image import https://images.example.org/debian-12.qcow2 vi/debian
  hv image import docker://registry.example.org/images/debian:12 cvi/debian --pull-secret registry
  hv image import https://images.example.org/root.raw.xz vd/root --size 20Gi --checksum sha256=…
  hv image import ./debian-12.qcow2 vi/debian            the same as hv upload
  hv image push vi/debian registry.example.org/images/debian:12
  hv image push vds/before-upgrade registry.example.org/images/web:old --format raw

What is pushed is a container disk, which other tools pull (skopeo, podman) and hyperd imports. hv sends it from
where it runs, with the credentials that podman, skopeo or docker login have kept there; a registry's own authority
is trusted by SSL_CERT_FILE. With other tools alone: hv disk export, then a COPY of that to /disk/ in an image.

The import with curl alone, on the host; it is there when status.phase is Ready:
  curl --unix-socket /run/hyperd/hyperd.sock -H 'Content-Type: application/json' \\
    http://hv/apis/virtualization.deckhouse.io/v1alpha2/namespaces/default/virtualimages -d '
    {"metadata": {"name": "debian"}, "spec": {"storage": "ContainerRegistry", "dataSource":
      {"type": "HTTP", "http": {"url": "https://images.example.org/debian-12.qcow2"}}}}'
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("action", choices=("import", "push"), help="what to do")
    parser.add_argument(
        "source",
        help="https://…, docker://REGISTRY/REPOSITORY:TAG, a file, or -; to push, vi/, cvi/, vd/ or vds/NAME",
    )
    upload.of_new_object(parser)
    parser.add_argument("--ca", default="", metavar="FILE", help="certificates of the server's authorities, PEM")
    parser.add_argument("--pull-secret", default="", metavar="NAME", help="Secret with the registry's credentials")
    pushing = parser.add_argument_group("push, where KIND/NAME is REGISTRY/REPOSITORY:TAG")
    pushing.add_argument("--format", choices=("qcow2", "raw"), default="qcow2", help="of the disk in it (qcow2)")
    content.of_registry(parser)


def run(args: argparse.Namespace) -> int:
    """Make it, and wait until it can be used; or push it."""
    if args.action == "push":
        return _push(args)
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


def _push(args: argparse.Namespace) -> int:
    from hyperd.cli.waiting import Progress
    from hyperd.client.pushing import push

    client = client_of(args)
    resource, name = content.source(args.source, client)
    to = content.repository(args.target, args)
    shown = Progress(f"{resource.singular}/{name}")
    where = content.place(client.home, resource, name, args.format)
    suffix = "qcow2" if args.format == "qcow2" else "img"
    try:
        digest = push(client.home, where, to, suffix=suffix, told=content.told(shown), said=shown.show)
    finally:
        shown.done()
        to.close()
    print(f"Pushed {to}, {digest}")
    return 0


def _source(args: argparse.Namespace) -> Object | None:
    """The ``dataSource`` that is fetched; None for a file. Raises BadRequest for what cannot be told."""
    text, found = str(args.source), upload.checksums(args)
    fetched: Object = {"caBundle": _bundle(args.ca)} if args.ca else {}
    made: Object | None = origin(text)
    if made is None:
        if "://" in text:
            raise BadRequest(f"{text}: write https://…, docker://REGISTRY/REPOSITORY:TAG, or the name of a file.")
        return None
    if made["type"] == "HTTP":
        if args.pull_secret:
            raise BadRequest("--pull-secret is of a registry: docker://REGISTRY/REPOSITORY:TAG.")
        made["http"].update({**({"checksum": found} if found else {}), **fetched})
    else:
        if found:
            raise BadRequest("A container image has no checksum beside it: name it by its digest, @sha256:….")
        if args.pull_secret:
            fetched["imagePullSecret"] = {"name": args.pull_secret}
        made["containerImage"].update(fetched)
    return made


def _bundle(path: str) -> str:
    with open(os.path.expanduser(path), "rb") as file:
        return base64.b64encode(file.read()).decode()
