"""What hyperd is in a cluster: the manifests that this ``hv`` came with, as ``kubectl apply -k`` would have them.

Of kustomize's grammar what the kustomization uses: resources, labels, and the image, which the DaemonSet has at
two more places (its first container, and the setting that names it).
"""

from __future__ import annotations

import os

import hyperd
from hyperd.client.resource import Resource
from hyperd.errors import BadRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from hyperd.resources.schema.kind import Object

DAEMONS = "hyperd"
"""Name of the DaemonSet, and of the ConfigMap with its settings."""
VERSION_LABEL = "app.kubernetes.io/version"
PART_LABEL = "app.kubernetes.io/part-of"
PART = "hyperd"
SETTINGS_KEY = "hyperd.toml"
SETTINGS_DIGEST = "virtualization.deckhouse.io/settings"
"""Of the daemons' Pods: which settings they were started with, so that others have them start anew."""
_IMAGE_SETTING = "HYPERD_KUBERNETES__LAUNCHER_IMAGE"
_KUSTOMIZATION = "kustomization.yaml"
_ADMISSION, _ROLES = "admissionregistration.k8s.io/v1", "rbac.authorization.k8s.io/v1"
_ORDER = (
    ("v1", "Namespace", "namespaces", False),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", False),
    ("v1", "ServiceAccount", "serviceaccounts", True),
    (_ROLES, "ClusterRole", "clusterroles", False),
    (_ROLES, "Role", "roles", True),
    (_ROLES, "ClusterRoleBinding", "clusterrolebindings", False),
    (_ROLES, "RoleBinding", "rolebindings", True),
    (_ADMISSION, "ValidatingAdmissionPolicy", "validatingadmissionpolicies", False),
    (_ADMISSION, "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", False),
    ("v1", "ConfigMap", "configmaps", True),
    ("v1", "Service", "services", True),
    ("apiregistration.k8s.io/v1", "APIService", "apiservices", False),
    (_ADMISSION, "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", False),
    (_ADMISSION, "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", False),
    ("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", True),
    ("apps/v1", "DaemonSet", "daemonsets", True),
)
"""Each stands on those before it."""


def _resource(api_version: str, kind: str, plural: str, namespaced: bool) -> Resource:
    group, _, version = api_version.rpartition("/")
    return Resource(
        group=group, version=version, kind=kind, plural=plural, singular=kind.lower(), namespaced=namespaced
    )


RESOURCES: Final[dict[str, Resource]] = {kind: _resource(api, kind, *more) for api, kind, *more in _ORDER}  # type: ignore[arg-type]
"""Kind → resource of all that hyperd is made of, in the order in which it is made."""
NODES: Final = _resource("v1", "Node", "nodes", False)
PODS: Final = _resource("v1", "Pod", "pods", True)
EVENTS: Final = _resource("v1", "Event", "events", True)
REVISIONS: Final = _resource("apps/v1", "ControllerRevision", "controllerrevisions", True)
CLASSES: Final = _resource("storage.k8s.io/v1", "StorageClass", "storageclasses", False)


def folder() -> str:
    """Where the manifests are in this installation."""
    return os.path.join(os.path.dirname(hyperd.__file__), "data", "manifests")


def load(image: str) -> list[Object]:
    """All objects with ``image`` in the place of hyperd's, in the order in which they are to be made."""
    kustomization = _documents(_KUSTOMIZATION)[0]
    labels = {key: value for entry in kustomization.get("labels") or () for key, value in entry["pairs"].items()}
    objects = [obj for name in kustomization["resources"] for obj in _documents(name)]
    for obj in objects:
        metadata = obj["metadata"]
        metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
        if obj["kind"] == "DaemonSet":
            _put_image(obj, image)
    ranks = {kind: rank for rank, kind in enumerate(RESOURCES)}
    return sorted(objects, key=lambda obj: ranks[obj["kind"]])


def daemons(objects: list[Object]) -> Object:
    """The DaemonSet of ``load``."""
    return next(obj for obj in objects if obj["kind"] == "DaemonSet")


def settings(path: str) -> Object:
    """The ConfigMap of the daemons' settings, from a file. Raises BadRequest where that is no TOML."""
    import tomllib

    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as err:
        raise BadRequest(f"The settings in {path} are no TOML: {err}.") from err
    namespace = daemons_namespace()
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": DAEMONS, "namespace": namespace},
        "data": {SETTINGS_KEY: text},
    }


def daemons_namespace() -> str:
    from hyperd.resources.values.names import SYSTEM_NAMESPACE

    return SYSTEM_NAMESPACE


def version_of(daemon_set: Object) -> str:
    """The version that a DaemonSet says it is; empty where it says none."""
    return str((daemon_set.get("metadata", {}).get("labels") or {}).get(VERSION_LABEL) or "")


def image_of(daemon_set: Object) -> str:
    """The image of a DaemonSet's daemons; empty where there is none."""
    containers = ((daemon_set.get("spec") or {}).get("template") or {}).get("spec", {}).get("containers") or ()
    return next((str(one.get("image") or "") for one in containers if one.get("name") == DAEMONS), "")


def _put_image(daemon_set: Object, image: str) -> None:
    spec = daemon_set["spec"]["template"]["spec"]
    for container in (*(spec.get("initContainers") or ()), *spec["containers"]):
        container["image"] = image
        for setting in container.get("env") or ():
            if setting["name"] == _IMAGE_SETTING:
                setting["value"] = image


def _documents(name: str) -> list[Object]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with open(os.path.join(folder(), name), encoding="utf-8") as file:
        return [document for document in yaml.load_all(file, Loader=loader) if document]
