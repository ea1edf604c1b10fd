"""Each format that images come in, compressed or not, on a volume of each kind of pool: a guest boots from each.

A guest for each of both together would be fifteen; what a pool makes of a format is compared byte by byte instead.
"""

from __future__ import annotations

import gzip
import itertools
import lzma
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.contract.volumes import xfs
from tests.guest import Form
from tests.guest import image as built
from tests.host.machine.test_busy_disks import exported, of_class
from tests.host.node import Node
from tests.host.running import Hyperd, ImageServer, image, machine, resource

CLASSES = ("local", "fast", "raw")
"""Of qcow2 files, of files that share blocks, and of partitions."""


def plain(path: Path, to: Path) -> None:
    shutil.copy(path, to)


def gz(path: Path, to: Path) -> None:
    to.write_bytes(gzip.compress(path.read_bytes(), 1))


def xz(path: Path, to: Path) -> None:
    to.write_bytes(lzma.compress(path.read_bytes(), preset=0))


FORMS: dict[str, Callable[[Path, Path], None]] = {"qcow2": xz, "raw": gz, "vmdk": plain, "vdi": gz, "iso": plain}
"""How each is packed, as it is served."""


@pytest.fixture(scope="module")
def daemon(node: Node, block_disk: Path, shared_blocks: xfs.InNode) -> Iterator[Hyperd]:
    node.ensure_libvirtd()
    pools = (
        f'{{name = "fast", kind = "reflink", path = "{shared_blocks.path}/pool"}}, '
        f'{{name = "raw", kind = "block", path = "{block_disk}"}}'
    )
    with Hyperd(node, settings={"storage.pools": f"[{pools}]"}) as running:
        yield running
    node.remove_domains()


@pytest.fixture(scope="module")
def served(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageServer]:
    """The small guest in each form."""
    folder, work = node.make_dir(), tmp_path_factory.mktemp("forms")
    for form, pack in FORMS.items():
        made = built(form) if form in list(Form) else work / form
        if not made.exists():
            source = built(Form.RAW)
            argv: list[str | Path] = ["qemu-img", "convert", "-f", "raw", "-O", form, source, made]
            subprocess.run(argv, check=True, capture_output=True)
        pack(made, folder / form)
    server = ImageServer(node, folder, port=8096)
    yield server
    server.close()


@pytest.mark.parametrize(("form", "booted"), list(zip(FORMS, itertools.cycle(CLASSES), strict=False)))
def test_each_form_is_the_same_in_each_kind_of_pool_and_boots(
    daemon: Hyperd, served: ImageServer, tmp_path: Path, form: str, booted: str
) -> None:
    optical = form == "iso"
    daemon.create(image(form, f"{served.url}/{form}"))
    found = daemon.wait_phase("vi", form, "Ready")
    assert found["status"]["cdrom"] is optical
    kind, word = ("VirtualImage", "vi") if optical else ("VirtualDisk", "vd")
    names = {class_: f"{form}-{class_}" for class_ in CLASSES}
    for class_, name in names.items():
        made = of_class(name, class_, source=("VirtualImage", form))
        if optical:
            made |= {"kind": kind, "spec": {**made["spec"], "storage": "PersistentVolumeClaim"}}
        daemon.create(made)
    whole = built(Form.ISO if optical else Form.RAW).read_bytes()
    for name in names.values():
        daemon.wait_phase(word, name, "Ready")
        content = exported(daemon, resource(word).plural, name, tmp_path / name).read_bytes()
        assert content[: len(whole)] == whole
        assert not any(content[len(whole) :])  # a partition may be larger
    refs = [{"kind": kind, "name": names[booted]}]
    daemon.create(machine(form, blockDeviceRefs=refs, terminationGracePeriodSeconds=0))
    vm = daemon.wait_phase("vm", form, "Running", timeout=120)
    daemon.wait_console(vm, "MEDIA=cd" if optical else "BOOTS=1")
    daemon.delete("vm", form)
    daemon.wait_gone("vm", form)
    for name in names.values():
        daemon.delete(word, name)
    daemon.delete("vi", form)
