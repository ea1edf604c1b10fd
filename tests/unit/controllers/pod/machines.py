"""A machine and its class, as a Pod is made of them."""

from __future__ import annotations

from typing import Any

from hyperd.resources.all import VIRTUAL_MACHINE
from hyperd.settings import KubernetesSettings
from tests.parts import Part

UID = "6f7d3a52-7c5e-4b3c-9a58-9d6c1a6b7c8d"
CONF = KubernetesSettings(pods=True, launcher_image="registry.example/hyperd:1")


def machine(*, labels: Part | None = None, annotations: Part | None = None, **spec: Any) -> Part:
    return {
        "apiVersion": VIRTUAL_MACHINE.api_version,
        "kind": VIRTUAL_MACHINE.kind,
        "metadata": {
            "namespace": "shop",
            "name": "web",
            "uid": UID,
            "generation": 1,
            "labels": labels or {},
            "annotations": annotations or {},
        },
        "spec": {"cpu": {"cores": 2, "coreFraction": "25%"}, "memory": {"size": "1Gi"}, **spec},
    }


def class_(cpu: Part | None = None, **spec: Any) -> Part:
    return {"metadata": {"name": "c"}, "spec": {"cpu": cpu or {"type": "Host"}, **spec}}
