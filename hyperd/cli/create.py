"""``hv create``: a machine with its disk, a pool of machines, a disk, an image or a namespace, in one line."""

from __future__ import annotations

import argparse
import json
import os
import sys

from hyperd.cli.options import client_of, seconds
from hyperd.cli.printing import document, emit, object_name
from hyperd.client import kinds, sanitize
from hyperd.errors import BadRequest, HyperdError, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperd.client.resource import Resource
    from hyperd.client.sync import Client
    from hyperd.resources.schema.kind import Object

    Planned = tuple[Resource, str | None, Object]

EXAMPLES = """\
  hv create vm web --image debian-12 --cpu 2 --memory 2Gi --ssh-key ~/.ssh/id_ed25519.pub --wait
  hv create vm db --image cvi/debian-12 --disk 40Gi --attach data --user-data db.yaml
  hv create pool build --image debian-12 --replicas 3 --cpu 4 --memory 8Gi
  hv create disk data --size 80Gi
  hv create image debian-12 --url https://images.example.org/debian-12.qcow2 --wait
  hv create namespace shop
  hv create vm web --image debian-12 -o yaml --dry-run > web.yaml
"""
_API = "virtualization.deckhouse.io/v1alpha2"
_WORDS = {
    "vm": "vm", "machine": "vm", "virtualmachine": "vm", "vd": "vd", "disk": "vd", "virtualdisk": "vd",
    "vi": "vi", "image": "vi", "virtualimage": "vi", "cvi": "cvi", "clustervirtualimage": "cvi",
    "ns": "ns", "namespace": "ns", "vmpool": "vmpool", "pool": "vmpool", "virtualmachinepool": "vmpool",
}  # fmt: skip
_IMAGES = {"vi": "VirtualImage", "cvi": "ClusterVirtualImage"}
_OF_MACHINES = (
    "image", "cpu", "core_fraction", "memory", "disk", "storage_class", "class_", "ssh_key", "user_data", "policy",
)  # fmt: skip
_TAKES = {
    "vm": (*_OF_MACHINES, "attach", "ip"),
    "vmpool": (*_OF_MACHINES, "replicas", "scale_down"),
    "vd": ("image", "size", "storage_class"),
    "vi": ("url",),
    "cvi": ("url",),
    "ns": (),
}  # fmt: skip
_MOST_USER_DATA = 2048
_KEYS = ("ssh-", "ecdsa-", "sk-")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("what", help="vm, pool, disk, image, cvi (an image for all namespaces) or namespace")
    parser.add_argument("name", help="its name")
    machine = parser.add_argument_group("machine and pool")
    machine.add_argument(
        "--image", default="", help="of its first disk, or of the disk: NAME, vi/NAME or cvi/NAME"
    )
    machine.add_argument("--cpu", type=int, default=None, metavar="CORES", help="cores (default 1)")
    machine.add_argument("--core-fraction", default="", metavar="PART", help="guaranteed part of each core: 50%%")
    machine.add_argument("--memory", default="", metavar="SIZE", help="memory (default 1Gi)")
    machine.add_argument("--disk", default="", metavar="SIZE", help="size of its first disk (default the image's)")
    machine.add_argument("--class", dest="class_", default="", help="its class (default generic)")
    machine.add_argument("--ssh-key", action="append", default=[], metavar="KEY", help="public key, or its file")
    machine.add_argument("--user-data", default="", metavar="FILE", help="cloud-init user data")
    machine.add_argument("--attach", action="append", default=[], metavar="DISK", help="one more disk that exists")
    machine.add_argument("--ip", default="", metavar="NAME", help="a VirtualMachineIPAddress for it")
    machine.add_argument("--policy", default="", help="runPolicy: AlwaysOn, AlwaysOff, Manual, …")
    machine.add_argument(
        "--replicas", type=int, default=None, metavar="COUNT", help="machines of the pool (default 1)"
    )
    machine.add_argument(
        "--scale-down",
        default="",
        metavar="POLICY",
        help="who goes first: NewestFirst (default), OldestFirst, Explicit",
    )
    others = parser.add_argument_group("disk and image")
    others.add_argument("--size", default="", help="size of the disk (default the image's)")
    others.add_argument("--storage-class", default="", help="where the disk is kept")
    others.add_argument("--url", default="", help="where the image comes from")
    parser.add_argument("--label", action="append", default=[], metavar="KEY=VALUE", help="a label of it")
    parser.add_argument("--dry-run", action="store_true", help="let the server check, write nothing")
    parser.add_argument("-o", "--output", choices=("yaml", "json", "name"), default="", help="print the objects")
    parser.add_argument("-w", "--wait", action="store_true", help="wait until it is ready, with progress")
    parser.add_argument("-t", "--timeout", type=seconds, default=1800.0, help="longest wait (default 30m)")


def run(args: argparse.Namespace) -> int:
    """Create it; what was made for it goes again where it is refused itself."""
    word = _WORDS.get(args.what.lower())
    if word is None:
        raise BadRequest(
            f"hv create makes vm, pool, disk, image, cvi or namespace, not {args.what}; see `hv apply`."
        )
    for field in {name for names in _TAKES.values() for name in names} - set(_TAKES[word]):
        if getattr(args, field) not in (None, "", []):
            raise BadRequest(f"--{field.strip('_').replace('_', '-')} is nothing of a {args.what}.")
    if word == "vmpool" and args.wait:
        raise BadRequest(f"A pool is waited for by `hv wait vmpool/{args.name} --for=condition=Available`.")
    client = client_of(args)
    plan = _plan(client, args, word)
    for resource, namespace, manifest in plan:
        checked = client.create(resource, namespace, manifest, dry_run=True)
        if args.dry_run:
            _tell(args, resource, manifest if args.output in ("yaml", "json") else checked)
    if args.dry_run:
        return 0
    made: list[Planned] = []
    try:
        for resource, namespace, manifest in plan:
            made.append((resource, namespace, client.create(resource, namespace, manifest)))
    except HyperdError as err:
        if left := _undo(client, made):
            raise type(err)(f"{err.message} {left}", causes=err.causes) from err
        raise
    for resource, _, obj in made:
        _tell(args, resource, obj)
    return _wait(client, made, args) if args.wait else 0


def _undo(client: Client, made: list[Planned]) -> str:
    """Remove what was made; says what could not be."""
    left = []
    for resource, namespace, obj in reversed(made):
        try:
            client.delete(resource, namespace, obj["metadata"]["name"])
        except NotFound:
            continue
        except HyperdError:
            left.append(object_name(resource, obj["metadata"]["name"]))
    return f"Made before, and still there: {', '.join(left)}; see `hv delete`." if left else ""


def _plan(client: Client, args: argparse.Namespace, word: str) -> list[Planned]:
    metadata: Object = {"name": args.name}
    if args.label:
        metadata["labels"] = dict(_pair(label) for label in args.label)
    if word == "ns":
        return [_of(client, "ns", {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})]
    if word in _IMAGES:
        if not args.url:
            raise BadRequest("Say where the image comes from: --url https://…")
        spec: Object = {"dataSource": {"type": "HTTP", "http": {"url": args.url}}}
        if word == "vi":
            spec["storage"] = "ContainerRegistry"
        return [_ours(client, word, _IMAGES[word], metadata, spec)]
    if word == "vd":
        return [_ours(client, "vd", "VirtualDisk", metadata, _disk(client, args, args.size))]
    if word == "vmpool":
        return [_ours(client, "vmpool", "VirtualMachinePool", metadata, _pool(client, args))]
    return _machine(client, args, metadata)


def _machine(client: Client, args: argparse.Namespace, metadata: Object) -> list[Planned]:
    if not args.image and not args.attach:
        raise BadRequest("A machine needs a disk: --image makes one, --attach takes one that exists.")
    plan: list[Planned] = []
    devices: list[Object] = []
    if args.image:
        root = {**metadata, "name": f"{args.name}-root"}
        plan.append(_ours(client, "vd", "VirtualDisk", root, _disk(client, args, args.disk)))
        devices.append({"kind": "VirtualDisk", "name": root["name"]})
    elif args.disk:
        raise BadRequest("--disk is the size of the disk that --image makes.")
    for disk in args.attach:
        devices.append({"kind": "VirtualDisk", "name": disk.removeprefix("vd/")})
    spec = _sizes(args, devices)
    if args.ip:
        spec["virtualMachineIPAddressName"] = args.ip
    plan.append(_ours(client, "vm", "VirtualMachine", metadata, spec))
    return plan


def _pool(client: Client, args: argparse.Namespace) -> Object:
    """Machines with a disk each of the image, which goes with them."""
    if not args.image:
        raise BadRequest("The machines of a pool need a disk: --image makes one for each.")
    root = {"name": "root", "spec": _disk(client, args, args.disk)}
    machine = _sizes(args, [{"kind": "VirtualDisk", "name": root["name"]}])
    machine["liveMigrationPolicy"] = "PreferSafe"  # a machine's default; templates get none
    return {
        "replicas": args.replicas if args.replicas is not None else 1,
        "scaleDownPolicy": args.scale_down or "NewestFirst",
        "virtualDiskTemplates": [root],
        "virtualMachineTemplate": {"spec": machine},
    }


def _sizes(args: argparse.Namespace, devices: list[Object]) -> Object:
    """The spec of a machine with these devices."""
    cpu: Object = {"cores": args.cpu if args.cpu is not None else 1}
    if args.core_fraction:
        cpu["coreFraction"] = args.core_fraction
    spec: Object = {
        "virtualMachineClassName": args.class_ or "generic",
        "cpu": cpu,
        "memory": {"size": args.memory or "1Gi"},
        "blockDeviceRefs": devices,
    }
    if args.policy:
        spec["runPolicy"] = args.policy
    if user_data := _user_data(args):
        spec["provisioning"] = {"type": "UserData", "userData": user_data}
    return spec


def _disk(client: Client, args: argparse.Namespace, size: str) -> Object:
    claim = {"size": size, "storageClassName": args.storage_class}
    spec: Object = {"persistentVolumeClaim": {key: value for key, value in claim.items() if value}}
    if args.image:
        kind, name = _image(client, args.image)
        spec["dataSource"] = {"type": "ObjectRef", "objectRef": {"kind": kind, "name": name}}
    elif not size:
        raise BadRequest("Say how large the disk is: --size 20Gi; or what it is made of: --image NAME.")
    return spec


def _image(client: Client, wanted: str) -> tuple[str, str]:
    """Kind and name; one of the namespace goes before one for all. Raises NotFound."""
    word, slash, name = wanted.rpartition("/")
    for short in (word,) if slash else _IMAGES:
        if short not in _IMAGES:
            raise BadRequest(f"--image {wanted}: say NAME, vi/NAME or cvi/NAME.")
        resource = kinds.resolve(short, client)[0]
        if client.find(resource, client.home.namespace if resource.namespaced else None, name) is not None:
            return _IMAGES[short], name
    raise NotFound(f"There is no image {wanted} here; `hv get vi,cvi` lists them.")


def _user_data(args: argparse.Namespace) -> str:
    if args.user_data:
        if args.ssh_key:
            raise BadRequest("Write the keys into the user data, or leave one of the two away.")
        with open(args.user_data, encoding="utf-8") as file:
            text = file.read()
    else:
        keys = [_key(word) for word in args.ssh_key]
        # A JSON string is one of YAML too, whatever is in it.
        lines = "".join(f"  - {json.dumps(key)}\n" for key in keys)
        text = f"#cloud-config\nssh_authorized_keys:\n{lines}" if keys else ""
    if len(text.encode()) > _MOST_USER_DATA:
        raise BadRequest(
            f"The user data has {len(text.encode())} bytes; more than {_MOST_USER_DATA} go into a Secret, which "
            "spec.provisioning.userDataRef names."
        )
    return text


def _key(word: str) -> str:
    if word.startswith(_KEYS) and " " in word:
        return word.strip()
    with open(os.path.expanduser(word), encoding="utf-8") as file:
        key = file.read().strip()
    if "PRIVATE KEY" in key or not key.startswith(_KEYS):
        raise BadRequest(f"{word} holds no public key of SSH, which begins with ssh-, such as ssh-ed25519.")
    return key


def _pair(label: str) -> tuple[str, str]:
    key, equals, value = label.partition("=")
    if not equals or not key:
        raise BadRequest(f"--label {label} is not key=value.")
    return key, value


def _ours(client: Client, word: str, kind: str, metadata: Object, spec: Object) -> Planned:
    return _of(client, word, {"apiVersion": _API, "kind": kind, "metadata": metadata, "spec": spec})


def _of(client: Client, word: str, manifest: Object) -> Planned:
    resource = kinds.resolve(word, client)[0]
    namespace = client.home.namespace if resource.namespaced else None
    if namespace:
        manifest["metadata"] = {**manifest["metadata"], "namespace": namespace}
    return resource, namespace, manifest


def _tell(args: argparse.Namespace, resource: Resource, obj: Object) -> None:
    if args.output in ("yaml", "json"):
        emit([*(["---"] if args.output == "yaml" else []), document(obj, args.output).rstrip("\n")])
        return
    name = object_name(resource, obj["metadata"]["name"])
    emit([name if args.output == "name" else f"{name} created" + (" (dry run)" if args.dry_run else "")])


def _wait(client: Client, made: list[Planned], args: argparse.Namespace) -> int:
    from hyperd.cli.waiting import follow, settled
    from hyperd.client.health import Level, health

    failed = 0
    for resource, namespace, obj in made:
        until = settled(resource.kind)
        if not until:
            continue
        stays_off = resource.kind != "VirtualMachine" or obj["spec"].get("runPolicy") in ("AlwaysOff", "Manual")
        name = obj["metadata"]["name"]
        ended = follow(
            client,
            resource,
            namespace,
            name,
            until=until if stays_off else frozenset(("Running",)),
            timeout=args.timeout,
        )
        state = health(ended)
        told = f"{object_name(resource, name)} {state.word}" + (f": {state.reason}" if state.reason else "")
        # Beside objects on stdout it would be part of them.
        print(sanitize.line(told), file=sys.stderr if args.output else sys.stdout, flush=True)
        failed += state.level is Level.BAD
    return int(bool(failed))
