"""Writes what is derived from the kinds: ``manifests/crds/*.yaml`` and ``hyperd/resources/index.py``.

``python -m hyperd.resources.crd`` writes, ``--check`` only tells whether the files are
current; a test asks the same.
"""

from __future__ import annotations

import sys

from hyperd.resources.all import KINDS
from hyperd.resources.derived import ROOT, Derived, yaml_text
from hyperd.resources.schema.kind import Column, Kind, Object
from hyperd.resources.values.names import API_SERVICE, CONVERSION_PATH, SYSTEM_NAMESPACE

CRD_DIR = ROOT / "manifests" / "crds"
INDEX_FILE = ROOT / "hyperd" / "resources" / "index.py"

_INDEX_HEAD = '''"""All kinds as plain data, for clients that must start fast.

Written by ``python -m hyperd.resources.crd``; nothing here may import pydantic, or anything that does.
"""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """How a kind is found and addressed. ``version`` is the one to prefer of those it is served in."""

    group: str
    version: str
    more_versions: tuple[str, ...]
    kind: str
    plural: str
    singular: str
    namespaced: bool
    short_names: tuple[str, ...]
    categories: tuple[str, ...]
    settled: tuple[str, ...]
    """Phases at which there is nothing more to wait for; empty for kinds without."""


INDEX: tuple[Entry, ...] = (
'''

_SUBRESOURCES: dict[str, dict[str, str]] = {
    "status": {},
    "scale": {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    },
}

_CONVERSION: Object = {
    "strategy": "Webhook",
    "webhook": {
        "conversionReviewVersions": ["v1"],
        "clientConfig": {
            "service": {"namespace": SYSTEM_NAMESPACE, "name": API_SERVICE, "path": CONVERSION_PATH, "port": 443},
        },
    },
}
"""The daemon adds its ``caBundle`` when it starts."""


def crd(kind: Kind) -> Object:
    """The CustomResourceDefinition of one of our kinds, in all its versions."""
    more = KINDS.more_versions(kind)
    names: Object = {
        "kind": kind.kind,
        "listKind": kind.list_kind,
        "plural": kind.plural,
        "singular": kind.singular,
    }
    if kind.short_names:
        names["shortNames"] = list(kind.short_names)
    if kind.categories:
        names["categories"] = list(kind.categories)
    spec: Object = {
        "group": kind.group,
        "names": names,
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "versions": [_version(kind, storage=True), *(_version(one.kind, storage=False) for one in more)],
    }
    if more:
        spec["conversion"] = _CONVERSION
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": kind.qualified_resource},
        "spec": spec,
    }


def _version(kind: Kind, *, storage: bool) -> Object:
    version: Object = {"name": kind.version, "served": True, "storage": storage}
    if kind.deprecated:
        version["deprecated"] = True
    version["schema"] = {"openAPIV3Schema": kind.schema}
    version["additionalPrinterColumns"] = [_column(column) for column in kind.columns]
    if kind.subresources:
        version["subresources"] = {
            name: _SUBRESOURCES[name] for name in ("status", "scale") if name in kind.subresources
        }
    if kind.selectable_fields:
        version["selectableFields"] = [{"jsonPath": f".{path}"} for path in kind.selectable_fields]
    return version


def _column(column: Column) -> Object:
    out: Object = {"name": column.name, "type": column.type, "jsonPath": column.json_path}
    if column.description:
        out["description"] = column.description
    if column.priority:
        out["priority"] = column.priority
    if column.format:
        out["format"] = column.format
    return out


def index_source() -> str:
    """The text of ``index.py``."""
    lines = [_INDEX_HEAD]
    # Ours first: a word that two groups share means ours.
    for kind in sorted(KINDS, key=lambda kind: (kind.core, kind.group, kind.plural)):
        version, *more = (served.version for served in KINDS.versions(kind) if served.group == kind.group)
        fields = (
            kind.group, version, tuple(more), kind.kind, kind.plural, kind.singular, kind.namespaced,
            kind.short_names, kind.categories, kind.settled,
        )  # fmt: skip
        lines.append("    Entry(\n")
        lines += (f"        {_literal(value)},\n" for value in fields)
        lines.append("    ),\n")
    lines.append(")\n")
    return "".join(lines)


def _literal(value: object) -> str:
    if isinstance(value, tuple):
        inner = ", ".join(_literal(item) for item in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def derived() -> Derived:
    """Every file with the content it should have."""
    crds = {CRD_DIR / f"{kind.plural}.yaml": yaml_text(crd(kind)) for kind in KINDS if not kind.core}
    return Derived("hyperd.resources.crd", {INDEX_FILE: index_source(), **crds}, CRD_DIR.glob("*.yaml"))


if __name__ == "__main__":
    sys.exit(derived().main())
