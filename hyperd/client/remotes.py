"""The homes that a user keeps under names: ``hv remote``, ``--context NAME``, and the homes view of the TUI.

They are in ``$XDG_CONFIG_HOME/hyperd/homes.toml``, which may be edited by hand. Blocking.
"""

from __future__ import annotations

import os
import re

from hyperd import durable
from hyperd.client.finding import at, kubeconfig_paths
from hyperd.client.home import Home
from hyperd.errors import BadRequest, Conflict, NotFound

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z")
_LONGEST = 1024
_HEAD = "# Homes of hv. `hv remote --help` tells how they are kept.\n"


class Remote:
    """One kept home: at ``place``, a socket's path or an ``ssh://`` address, or a kubeconfig's ``context``."""

    __slots__ = ("context", "kubeconfig", "name", "place")

    def __init__(self, name: str, *, place: str = "", context: str = "", kubeconfig: str = "") -> None:
        """Raises BadRequest for what is no home."""
        if not _NAME.match(name):
            raise BadRequest(f"{name!r} is no name of a home: letters, digits, and . _ - between them.")
        if bool(place) == bool(context):
            raise BadRequest(f"The home {name} needs either a place (at) or a context.")
        if any(len(value) > _LONGEST or not value.isprintable() for value in (place, context, kubeconfig)):
            raise BadRequest(f"The home {name} has a value that is none.")
        self.name = name
        self.place = place
        self.context = context
        self.kubeconfig = kubeconfig

    @property
    def where(self) -> str:
        """What it leads to, for people."""
        return self.place or f"context {self.context}" + (f" of {self.kubeconfig}" if self.kubeconfig else "")

    def home(self, *, namespace: str = "") -> Home:
        """The home itself. Raises BadRequest, NotFound."""
        if self.place:
            return at(self.place, name=self.name, namespace=namespace)
        from hyperd.client.kubeconfig import load as kubeconfig

        home = kubeconfig(kubeconfig_paths(self.kubeconfig)).home(self.context)
        home.name = self.name
        home.namespace = namespace or home.namespace
        return home


def path() -> str:
    """Where they are kept."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    folder = base if base.startswith("/") else os.path.expanduser("~/.config")
    return os.path.join(folder, "hyperd", "homes.toml")


def load() -> dict[str, Remote]:
    """Those that are kept, by name, in their order. Raises BadRequest for a file that says something else."""
    file = path()
    try:
        with open(file, "rb") as opened:
            content = opened.read()
    except FileNotFoundError:
        return {}
    except OSError as err:
        raise BadRequest(f"{file} cannot be read: {err.strerror}.") from err
    import tomllib

    try:
        homes = tomllib.loads(content.decode()).get("homes", {})
        return {name: _remote(name, entry) for name, entry in homes.items()}
    except BadRequest as err:
        raise BadRequest(f"{file}: {err.message}") from err
    except (ValueError, AttributeError, TypeError) as err:
        raise BadRequest(f"{file} does not say what homes there are: {err}.") from err


def add(remote: Remote) -> None:
    """Keep one more. Raises Conflict where there is one of its name already."""
    kept = load()
    if remote.name in kept:
        raise Conflict(f"There is a home {remote.name} already: {kept[remote.name].where}.")
    _write({**kept, remote.name: remote})


def remove(name: str) -> None:
    """Keep it no longer. Raises NotFound."""
    kept = load()
    if name not in kept:
        known = ", ".join(kept) or "none"
        raise NotFound(f"No home {name} is kept; there are: {known}.")
    _write({other: remote for other, remote in kept.items() if other != name})


def _remote(name: str, entry: dict[str, object]) -> Remote:
    if unknown := set(entry) - {"at", "context", "kubeconfig"}:
        raise BadRequest(
            f"the home {name} has no {', '.join(sorted(unknown))}: it has at, context and kubeconfig."
        )
    values = [entry.get(key, "") for key in ("at", "context", "kubeconfig")]
    if not all(isinstance(value, str) for value in values):
        raise BadRequest(f"the home {name} has a value that is no text.")
    place, context, kubeconfig = map(str, values)
    return Remote(name, place=place, context=context, kubeconfig=kubeconfig)


def _write(kept: dict[str, Remote]) -> None:
    """Raises BadRequest where it cannot be."""
    import json

    lines = [_HEAD]
    for name, remote in kept.items():
        lines.append(f"\n[homes.{json.dumps(name)}]\n")
        values = (("at", remote.place), ("context", remote.context), ("kubeconfig", remote.kubeconfig))
        # A text of JSON is one of TOML.
        lines += [f"{key} = {json.dumps(value)}\n" for key, value in values if value]
    file = path()
    try:
        os.makedirs(os.path.dirname(file), mode=0o700, exist_ok=True)
        durable.write(file, "".join(lines).encode())
    except OSError as err:
        raise BadRequest(f"{file} cannot be written: {err.strerror}.") from err
