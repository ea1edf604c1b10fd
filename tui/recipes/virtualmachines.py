"""A machine, and the disk that is made for it of an image."""

from __future__ import annotations

import json
import re

from hyperd.client.snapshots import DISK, resource
from hyperd.errors import BadRequest
from tui.draft import Draft, Field, plain, put, value_at, words_at
from tui.recipe import Recipe, have_source, source

_FIRST = ("spec", "blockDeviceRefs", 0, "name")
_USER_DATA = ("spec", "provisioning", "userData")
_KEY_LINE = re.compile(r'\s*- "(?P<key>(?:[^"\\]|\\.)*)"\Z')
_HEAD = "#cloud-config\nssh_authorized_keys:\n"


def _root(name: str) -> str:
    return f"{name}-root" if name else "root"


def _from(draft: Draft) -> str:
    made = draft.beside(DISK)
    if made is not None:
        return source(made)
    name = words_at(draft.main, _FIRST)
    return f"vd/{name}" if name else ""


def _have_from(draft: Draft, text: str) -> None:
    short, _, name = text.partition("/")
    made = draft.beside(DISK)
    if not text or (short == "vd" and name):
        draft.objects = [obj for obj in draft.objects if obj is not made]
        _have_first(draft, name)
        return
    disk = made if made is not None else _disk(draft)
    have_source(disk, text, ("vi", "cvi", "vds"))
    if text == "blank":
        raise BadRequest("a machine boots from an image or a disk; write vi/NAME, cvi/NAME or vd/NAME")
    if made is None:
        draft.objects.insert(0, disk)
    _have_first(draft, words_at(disk, ("metadata", "name")))


def _disk(draft: Draft) -> dict[str, object]:
    metadata = {"name": _root(draft.name), "namespace": words_at(draft.main, ("metadata", "namespace"))}
    return {"apiVersion": resource(DISK).api_version, "kind": DISK, "metadata": metadata, "spec": {}}


def _have_first(draft: Draft, name: str) -> None:
    """Boot from this disk; from none where it has no name."""
    references = value_at(draft.main, _FIRST[:2])
    others = references[1:] if isinstance(references, list) else []
    put(draft.main, ("spec", "blockDeviceRefs"), [*([{"kind": DISK, "name": name}] if name else []), *others])


def _rename(draft: Draft, name: str) -> None:
    before, made = draft.name, draft.beside(DISK)
    if made is not None and words_at(made, ("metadata", "name")) == _root(before):
        put(made, ("metadata", "name"), _root(name))
        if words_at(draft.main, _FIRST) == _root(before):
            _have_first(draft, _root(name))
    put(draft.main, ("metadata", "name"), name or None)


def _keys(draft: Draft) -> str:
    """The one key of user data that holds nothing else."""
    text = words_at(draft.main, _USER_DATA)
    found = _KEY_LINE.match(text.removeprefix(_HEAD).rstrip("\n")) if text.startswith(_HEAD) else None
    return str(json.loads(f'"{found["key"]}"')) if found else ""


def _have_key(draft: Draft, text: str) -> None:
    if not text:
        put(draft.main, ("spec", "provisioning"), None)
        return
    if words_at(draft.main, _USER_DATA) and not _keys(draft):
        raise BadRequest("the user data says more than a key: change it in the YAML")
    if not re.match(r"(ssh-|ecdsa-|sk-)\S+ \S", text):
        raise BadRequest("a public key begins with ssh-, as in ssh-ed25519 AAAA…; the private one stays with you")
    put(draft.main, ("spec", "provisioning"), {"type": "UserData", "userData": f"{_HEAD}  - {json.dumps(text)}\n"})


RECIPE = Recipe(
    (
        Field(
            "boot from", ("spec", "blockDeviceRefs"), _from, _have_from,
            choices=("virtualimages", "clustervirtualimages", "virtualdisks"),
            help="vi/NAME or cvi/NAME makes a disk of the image, vd/NAME takes one that is there.",
        ),
        plain("disk size", "spec.persistentVolumeClaim.size", kind=DISK,
              help_="Size of the disk that is made; the image's where it is empty."),
        plain("storage class", "spec.persistentVolumeClaim.storageClassName", kind=DISK, choices="storageclasses"),
        plain("cores", "spec.cpu.cores", type_="integer"),
        plain("core share", "spec.cpu.coreFraction"),
        plain("memory", "spec.memory.size"),
        plain("class", "spec.virtualMachineClassName", choices="virtualmachineclasses"),
        plain("run policy", "spec.runPolicy"),
        Field("SSH key", _USER_DATA, _keys, _have_key,
              help="A public key that may log in, by cloud-init; more of user data is written in the YAML."),
        plain("firmware", "spec.bootloader"),
        plain("operating system", "spec.osType"),
        plain("address", "spec.virtualMachineIPAddressName", choices="virtualmachineipaddresses"),
    ),
    lambda: {
        "virtualMachineClassName": "generic", "cpu": {"cores": 1}, "memory": {"size": "1Gi"},
        "blockDeviceRefs": [],
    },
    _rename,
)  # fmt: skip
