"""Reading kubeconfig files, and merging an entry into one.

hyperd writes its kubeconfig as JSON, which is YAML too: then no YAML parser is imported. Merging follows kubectl:
of several files the first one that names a context, cluster or user wins.
"""

from __future__ import annotations

import json
import os
from urllib.parse import urlsplit

from hyperd.client.home import DEFAULT_NAMESPACE, Home
from hyperd.errors import BadRequest, Conflict, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from hyperd.resources.schema.kind import Object

_SECTIONS = ("clusters", "contexts", "users")


class Kubeconfig:
    """Merged entries by name, each with the folder that relative paths in it start from."""

    def __init__(self) -> None:
        self.current = ""
        self.entries: dict[str, dict[str, tuple[Object, str]]] = {name: {} for name in _SECTIONS}

    def add(self, document: Object, folder: str) -> None:
        """Merge one file's content; what is there already stays."""
        self.current = self.current or str(document.get("current-context") or "")
        for section in _SECTIONS:
            for entry in document.get(section) or ():
                body = entry.get(section[:-1]) or {}
                self.entries[section].setdefault(str(entry.get("name", "")), (body, folder))

    @property
    def contexts(self) -> list[str]:
        return list(self.entries["contexts"])

    def home(self, context: str = "") -> Home:
        """The home of ``context`` (or the current one). Raises NotFound, BadRequest."""
        name = context or self.current
        if not name:
            raise BadRequest("The kubeconfig names no current context; choose one with --context.")
        if name not in self.entries["contexts"]:
            known = ", ".join(self.contexts) or "none"
            raise NotFound(f'The kubeconfig has no context "{name}"; it has: {known}.')
        body, _ = self.entries["contexts"][name]
        cluster, cluster_folder = self._part("clusters", str(body.get("cluster", "")), name)
        user, user_folder = self._part("users", str(body.get("user", "")), name)
        url = urlsplit(str(cluster.get("server", "")))
        if url.scheme not in ("http", "https") or not url.hostname:
            raise BadRequest(f'Context "{name}": the server {cluster.get("server")!r} is not an http(s) URL.')
        if "exec" in user or "auth-provider" in user:
            raise BadRequest(
                f'Context "{name}" logs in with a plug-in, which hv does not run; use a token or a certificate.'
            )
        return Home(
            name=name,
            host=url.hostname,
            port=url.port or (443 if url.scheme == "https" else 80),
            prefix=url.path,
            tls=url.scheme == "https",
            ca=_material(cluster, "certificate-authority", cluster_folder),
            certificate=_material(user, "client-certificate", user_folder),
            key=_material(user, "client-key", user_folder),
            token=str(user.get("token") or "") or _token_file(user, user_folder),
            server_name=str(cluster.get("tls-server-name") or ""),
            verify=not cluster.get("insecure-skip-tls-verify"),
            namespace=str(body.get("namespace") or DEFAULT_NAMESPACE),
        )

    def _part(self, section: str, name: str, context: str) -> tuple[Object, str]:
        found = self.entries[section].get(name)
        if found is None:
            raise BadRequest(f'Context "{context}" names the {section[:-1]} "{name}", which is not there.')
        return found


def load(paths: list[str]) -> Kubeconfig:
    """Merge the files that exist. Raises NotFound when none does, BadRequest when one is not a kubeconfig."""
    config = Kubeconfig()
    found = False
    for path in paths:
        try:
            with open(path, encoding="utf-8") as file:
                content = file.read()
        except FileNotFoundError:
            continue
        except OSError as err:
            raise BadRequest(f"The kubeconfig {path} cannot be read: {err.strerror}.") from err
        except UnicodeDecodeError as err:
            raise BadRequest(f"The kubeconfig {path} is not UTF-8 text.") from err
        found = True
        config.add(parse(content, path), os.path.dirname(os.path.abspath(path)))
    if not found:
        where = " or ".join(paths)
        raise NotFound(f"There is no kubeconfig at {where}; name one with --kubeconfig or $KUBECONFIG.")
    return config


def parse(content: str, path: str) -> Object:
    """One file's content as a mapping; ``path`` is for messages."""
    document: Any
    try:
        document = json.loads(content)
    except ValueError:
        import yaml

        try:
            document = yaml.safe_load(content)
        except yaml.YAMLError as err:
            raise BadRequest(f"The kubeconfig {path} is neither JSON nor YAML.") from err
    if not isinstance(document, dict):
        raise BadRequest(f"The kubeconfig {path} is not a mapping.")
    return document


def renamed(document: Object, name: str) -> Object:
    """A kubeconfig of one cluster, context and user, called by ``name``."""
    cluster, context, user = (dict(document[section][0]) for section in ("clusters", "contexts", "users"))
    role = str(user["name"]).partition("@")[0]
    cluster["name"] = name
    context["name"] = name
    user["name"] = f"{role}@{name}"
    context["context"] = {**context["context"], "cluster": name, "user": user["name"]}
    sections = {"clusters": [cluster], "contexts": [context], "users": [user]}
    return {**document, **sections, "current-context": name}


def merge(into: Object, new: Object, others: Sequence[Object] = ()) -> Object:
    """``into`` with the entries of ``new``, and its current context. ``others`` are read after ``into``.

    An entry of the same name is replaced where it is of the same cluster (its CA, or its server without one).
    Raises Conflict where it is another's: nobody's way to their cluster is changed.
    """
    everything = [into, *others]
    _require_own(new, everything)
    merged = dict(into) or {"apiVersion": "v1", "kind": "Config"}
    for section in _SECTIONS:
        fresh = {entry["name"] for entry in new.get(section) or ()}
        kept = [entry for entry in entries(into, section) if entry.get("name") not in fresh]
        merged[section] = kept + list(new.get(section) or ())
    merged["current-context"] = new.get("current-context", merged.get("current-context", ""))
    return merged


def entries(document: Object, section: str) -> list[Object]:
    """The entries of a section; what is none is passed over."""
    found = document.get(section)
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _require_own(new: Object, everything: Sequence[Object]) -> None:
    ours = {entry["name"]: _identity(entry) for entry in entries(new, "clusters")}

    def same(name: object) -> bool:
        """Whether the cluster called ``name`` is the one that is merged."""
        found = [
            _identity(entry)
            for one in everything
            for entry in entries(one, "clusters")
            if entry.get("name") == name
        ]
        return bool(found) and all(identity in ours.values() for identity in found)

    for section in _SECTIONS:
        for entry in entries(new, section):
            name = entry["name"]
            there = [old for one in everything for old in entries(one, section) if old.get("name") == name]
            if all(old == entry for old in there):
                continue
            if section == "clusters":
                own = same(name)
            elif section == "contexts":
                own = all(same((old.get("context") or {}).get("cluster")) for old in there)
            else:
                used = [
                    body.get("cluster")
                    for one in everything
                    for old in entries(one, "contexts")
                    if (body := old.get("context") or {}).get("user") == name
                ]
                own = bool(used) and all(map(same, used))
            if not own:
                raise Conflict(
                    f'The kubeconfig has a {section[:-1]} "{name}" already, which belongs to another cluster; '
                    "it is left as it is. Give this one another name with --as NAME."
                )


def _identity(cluster: Object) -> tuple[str, str]:
    body = cluster.get("cluster") or {}
    authority = str(body.get("certificate-authority-data") or body.get("certificate-authority") or "")
    return (authority, "") if authority else ("", str(body.get("server") or ""))


def _material(body: Object, field: str, folder: str) -> bytes:
    if data := body.get(f"{field}-data"):
        import base64

        return base64.b64decode(data)
    path = body.get(field)
    return _read(path, folder) if path else b""


def _token_file(user: Object, folder: str) -> str:
    path = user.get("tokenFile")
    return _read(path, folder).decode().strip() if path else ""


def _read(path: str, folder: str) -> bytes:
    try:
        with open(os.path.join(folder, path), "rb") as file:
            return file.read()
    except OSError as err:
        raise BadRequest(f"The kubeconfig names {path}, which cannot be read: {err.strerror}.") from err
