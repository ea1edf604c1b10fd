"""Writes what of ``manifests/`` follows from the code: roles, webhooks, Service and APIService.

``python -m hyperd.install.manifests`` writes, ``--check`` only tells whether the files are current; a test asks
the same. The CRDs are ``hyperd.resources.crd``'s; Namespace, DaemonSet and kustomization are written by hand.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from hyperd.admission.dispatch import FINALIZERS, JUDGED, RULES, SCALED
from hyperd.api.serving.registration import API_SERVICE_OBJECT, WEBHOOKS
from hyperd.api.wire.subresources import GROUP as AGGREGATED
from hyperd.api.wire.subresources import VERSION as AGGREGATED_VERSION
from hyperd.install import clusterroles
from hyperd.resources.all import KINDS, POD, SECRET
from hyperd.resources.core import scale
from hyperd.resources.core.disruption import EVICTION
from hyperd.resources.derived import ROOT, Derived, yaml_text
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.values.names import (
    API_SERVICE,
    CLOUD_INIT_SECRET_TYPE,
    EVICTION_PATH,
    GROUP,
    MUTATION_PATH,
    POD_NAME_PREFIX,
    SYSPREP_SECRET_TYPE,
    SYSTEM_NAMESPACE,
    VALIDATION_PATH,
)
from hyperd.settings import AggregationSettings

FOLDER: Final = ROOT / "manifests"
LABELS: Final = {"app.kubernetes.io/name": "hyperd"}
PORT: Final = 443
_HEAD: Final = "# Written by python -m hyperd.install.manifests.\n"
_WEBHOOK_SECONDS: Final = 10
_EVICTION_SECONDS: Final = 5
"""While a daemon stands still, the evictions of all machines wait so long for it."""


def service() -> Object:
    """Leads the API server to the daemons."""
    port = {"name": "https", "port": PORT, "protocol": "TCP", "targetPort": AggregationSettings().port}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": API_SERVICE, "namespace": SYSTEM_NAMESPACE, "labels": LABELS},
        "spec": {"selector": LABELS, "ports": [port]},
    }


def api_service() -> Object:
    """Has the API server hand the aggregated group over to hyperd."""
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": API_SERVICE_OBJECT, "labels": LABELS},
        "spec": {
            "group": AGGREGATED,
            "version": AGGREGATED_VERSION,
            "groupPriorityMinimum": 1000,
            "versionPriority": 15,
            "service": {"namespace": SYSTEM_NAMESPACE, "name": API_SERVICE, "port": PORT},
        },
    }


def webhooks() -> list[Object]:
    """Has the API server ask for defaults and verdicts, of every kind that has some."""
    judged = [kind for kind in sorted(JUDGED, key=lambda kind: kind.plural) if not kind.core]
    completed = [kind for kind in judged if kind in RULES or kind in FINALIZERS]
    mutation = _webhook(f"mutation.{GROUP}", MUTATION_PATH, completed)
    mutation["reinvocationPolicy"] = "IfNeeded"
    scaled = [kind for kind in judged if kind in SCALED]
    # What is only warned of must not wait for hyperd.
    binding = [kind for kind in judged if kind in completed or kind.refused]
    warnings = _webhook(f"warnings.{GROUP}", VALIDATION_PATH, [kind for kind in judged if kind not in binding])
    warnings["failurePolicy"] = "Ignore"
    provisioning = _webhook(f"provisioning.{GROUP}", VALIDATION_PATH, [SECRET])
    # Warnings only: Secrets of a whole cluster must not wait for hyperd, and of others it learns nothing.
    provisioning["failurePolicy"] = "Ignore"
    provisioning["matchConditions"] = [
        {
            "name": "provisioning",
            "expression": f"object.type in ['{CLOUD_INIT_SECRET_TYPE}', '{SYSPREP_SECRET_TYPE}']",
        }
    ]
    validation = _webhook(f"validation.{GROUP}", VALIDATION_PATH, binding, scaled)
    return [
        _configuration("MutatingWebhookConfiguration", [mutation]),
        _configuration("ValidatingWebhookConfiguration", [validation, warnings, provisioning, _evictions()]),
    ]


def _evictions() -> Object:
    """Asks about evictions of machines' Pods. While nobody answers, their disruption budgets keep them."""
    hook = _webhook(f"evictions.{GROUP}", EVICTION_PATH, [POD])
    hook |= {"failurePolicy": "Ignore", "timeoutSeconds": _EVICTION_SECONDS}
    # It marks the Pod, but for a rehearsal.
    hook["sideEffects"] = "NoneOnDryRun"
    (rule,) = hook["rules"]
    rule |= {"operations": ["CREATE"], "resources": [f"{POD.plural}/{EVICTION}"]}
    hook["matchConditions"] = [
        {"name": "of-a-machine", "expression": f"request.name.startsWith('{POD_NAME_PREFIX}')"}
    ]
    return hook


def _configuration(kind: str, hooks: list[Object]) -> Object:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": WEBHOOKS, "labels": LABELS},
        "webhooks": hooks,
    }


def _webhook(name: str, path: str, kinds: list[Kind], scaled: Sequence[Kind] = ()) -> Object:
    """Asks about ``kinds``, and about the numbers of ``scaled``."""
    scope = "*" if len({kind.namespaced for kind in kinds}) > 1 else "Namespaced"
    return {
        "name": name,
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "matchPolicy": "Equivalent",
        "timeoutSeconds": _WEBHOOK_SECONDS,
        "clientConfig": {
            "service": {"namespace": SYSTEM_NAMESPACE, "name": API_SERVICE, "path": path, "port": PORT}
        },
        "rules": [
            {
                "apiGroups": [kinds[0].group],
                "apiVersions": sorted({kind.version for kind in kinds}),
                "operations": ["CREATE", "UPDATE"],
                "resources": [
                    *(kind.plural for kind in kinds),
                    *(f"{kind.plural}/{scale.SUBRESOURCE}" for kind in scaled),
                ],
                "scope": scope,
            }
        ],
    }


def derived() -> Derived:
    """Every file with the content it should have."""
    documents = {
        "api.yaml": [service(), api_service()],
        "webhooks.yaml": webhooks(),
        "rbac-daemon.yaml": clusterroles.for_daemon(),
        "rbac-users.yaml": [*clusterroles.for_people(), clusterroles.for_metrics()],
    }
    files = {FOLDER / name: _HEAD + yaml_text(*content) for name, content in documents.items()}
    return Derived("hyperd.install.manifests", files)


def kustomized() -> list[str]:
    """What the kustomization must list: every file beside it, and every CRD."""
    files = sorted(path.name for path in FOLDER.glob("*.yaml") if path.name != "kustomization.yaml")
    return [f"crds/{kind.plural}.yaml" for kind in KINDS if not kind.core] + files


if __name__ == "__main__":
    sys.exit(derived().main())
