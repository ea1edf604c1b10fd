"""A file of this machine into an image or disk that waits for one."""

from __future__ import annotations

import asyncio
import copy
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hyperd.client.health import health
from hyperd.errors import BadRequest
from tui.action import Parameters, Target, action
from tui.desk import Desk
from tui.widgets.entries import Entry
from tui.works import Work

_KINDS = ("virtualdisks", "virtualimages", "clustervirtualimages")
_WAITS = "WaitForUserUpload"


class _Cancelled(Exception):
    """The user wants it no longer."""


@dataclass(frozen=True)
class Where(Parameters):
    """The path of a file; without one it is asked for."""

    file: str = ""


def _refuses(target: Target) -> str:
    word = health(target.obj).word
    return (
        ""
        if word == _WAITS
        else f"is {word}: only what has the source Upload, and nothing in it yet, takes a file"
    )


def _begin(desk: Desk, targets: Sequence[Target], given: Where) -> None:
    (target,) = targets
    if given.file:
        desk.work(_upload(desk, target, Path(given.file).expanduser()), "upload")
        return
    from tui.screens.form import Form

    entry = Entry("file", "File", help="qcow2, raw, vmdk, vdi or iso, as it is or compressed", needed=True)
    desk.push(
        Form(
            f"Send a file into {desk.named(target.key)}", [entry],
            lambda values: desk.work(_upload(desk, target, Path(values["file"]).expanduser()), "upload"),
            note="It is a file of the machine that hv runs on.",
        )
    )  # fmt: skip


async def _upload(desk: Desk, target: Target, path: Path) -> None:
    key = target.key
    home = copy.copy(desk.fleet.homes[key.home].home)
    home.namespace = key.namespace or home.namespace
    resource = desk.fleet.resources[target.kind.plural]
    stop = threading.Event()
    work = desk.works.begin(Work(f"upload {path.name} → {key.name}", stop.set))

    def told(sent: int) -> None:
        work.done = sent
        if stop.is_set():
            raise _Cancelled

    def send() -> str:
        from hyperd.client.uploading import upload

        try:
            with path.open("rb") as file:
                work.total = os.fstat(file.fileno()).st_size
                return upload(home, resource, key.name, file, size=work.total, told=told)
        except OSError as err:
            raise BadRequest(f"{err.strerror or err}: {path}") from err

    desk.say(f"{path.name} is being sent; a shows how far it is")
    try:
        desk.say(f"{key.name}: {await asyncio.to_thread(send)}")
    except _Cancelled:
        desk.say(f"the upload to {key.name} is cancelled; it waits for another")
    finally:
        stop.set()  # the TUI is left: so is the server
        desk.works.end(work)


ACTIONS = (
    action(
        "upload", "U", "upload", "send a file of yours into what waits for it", "Disks", _begin, Where,
        words="upload", applies=lambda kind: kind.plural in _KINDS, refuses=_refuses,
        needs=lambda plural: f"get {plural}/upload",
    ),
)  # fmt: skip
