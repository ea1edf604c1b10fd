"""What a cluster must be before hyperd is installed in it: asked all at once, before anything is changed."""

from __future__ import annotations

from hyperd.cli.cluster import bundle
from hyperd.cli.cluster.applying import place
from hyperd.client import kinds
from hyperd.client.sync import Client
from hyperd.errors import Forbidden, HyperdError
from hyperd.resources.values.names import API_SERVICE, GROUP, SUBRESOURCE_GROUP, SYSTEM_NAMESPACE, VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperd.resources.schema.kind import Object

OLDEST = (1, 30)
_POLICIES = "validatingadmissionpolicies"
_ADMISSION = "admissionregistration.k8s.io"
_ANSWERED = f"{VERSION}.{SUBRESOURCE_GROUP}"


def missing(client: Client, objects: list[Object]) -> list[str]:
    """Why hyperd cannot be installed, a sentence each; empty where nothing speaks against it."""
    version = client.call("GET", "/version")
    if why := too_old(version):
        # What the rest of it would say follows from that.
        return [why]
    found: list[str] = []
    served = kinds.discovered(client.call("GET", "/apis", accept=kinds.AGGREGATED))
    if not any(one.group == _ADMISSION and one.plural == _POLICIES and one.version == "v1" for one in served):
        found.append(
            f"The API server does not serve {_POLICIES} of {_ADMISSION}/v1, without which a node's credential "
            "could change what is another's: have it enable them."
        )
    return found + foreign(client) + _leaving(client, objects) + _without_nodes(client, bundle.daemons(objects))


def too_old(version: Object) -> str:
    """Whether the API server is too old, as a sentence; a version that cannot be read is not held against it."""
    numbers = [str(version.get(part) or "").rstrip("+") for part in ("major", "minor")]
    if not all(number.isdecimal() for number in numbers):
        return ""
    have = (int(numbers[0]), int(numbers[1]))
    if have >= OLDEST:
        return ""
    wanted, told = ".".join(map(str, OLDEST)), ".".join(map(str, have))
    return f"The cluster is of Kubernetes {told}; hyperd needs {wanted} or newer: upgrade the cluster first."


def foreign(client: Client) -> list[str]:
    """What of another platform is in the way, by whose kinds hyperd's go."""
    definitions = client.list(bundle.RESOURCES["CustomResourceDefinition"])["items"]
    ours = client.find(bundle.RESOURCES["Namespace"], None, SYSTEM_NAMESPACE) is not None
    theirs = []
    for one in definitions:
        labels = one["metadata"].get("labels") or {}
        if (one.get("spec") or {}).get("group") != GROUP or labels.get(bundle.PART_LABEL) == bundle.PART:
            continue
        if labels.get("heritage") or labels.get("module") or not ours:
            theirs.append(one["metadata"]["name"])
    found = []
    if theirs:
        found.append(
            f"The cluster has another platform's kinds of {GROUP} ({', '.join(sorted(theirs)[:3])}"
            f"{', …' if len(theirs) > 3 else ''}), as the Deckhouse Virtualization Platform's own: two cannot be "
            "in one cluster. Use another cluster, or remove that platform first."
        )
    answers = client.find(bundle.RESOURCES["APIService"], None, _ANSWERED) or {}
    service = (answers.get("spec") or {}).get("service") or {}
    if answers and (service.get("namespace"), service.get("name")) != (SYSTEM_NAMESPACE, API_SERVICE):
        at = f"{service.get('namespace')}/{service.get('name')}"
        found.append(f"APIService {_ANSWERED} leads to {at}, which is not hyperd: remove that first.")
    return found


def require_rights(client: Client, objects: list[Object], verbs: tuple[str, ...]) -> None:
    """Raises Forbidden where who asks may not do all of it: half of it would be worse than nothing."""
    asked: dict[tuple[str, str, str], Object] = {}
    for obj in objects:
        resource, namespace, _ = place(obj)
        for verb in verbs:
            attributes = {"verb": verb, "group": resource.group, "resource": resource.plural}
            asked[resource.plural, namespace or "", verb] = {**attributes, "namespace": namespace or ""}
    denied: dict[tuple[str, str], list[str]] = {}
    for (plural, namespace, verb), attributes in asked.items():
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        answer = client.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body=review)
        if not (answer.get("status") or {}).get("allowed"):
            denied.setdefault((plural, namespace), []).append(verb)
    if not denied:
        return
    told = [
        f"{', '.join(verbs)} {plural}{f' in {namespace}' if namespace else ''}"
        for (plural, namespace), verbs in denied.items()
    ]
    raise Forbidden(
        f"You may not {'; '.join(told[:5])}{'; …' if len(told) > 5 else ''}: use the kubeconfig of a cluster's "
        "administrator."
    )


def _leaving(client: Client, objects: list[Object]) -> list[str]:
    found = []
    for obj in objects:
        if obj["kind"] not in ("Namespace", "CustomResourceDefinition"):
            continue
        live = client.find(*place(obj))
        if live is not None and live["metadata"].get("deletionTimestamp"):
            found.append(f"{obj['kind']} {live['metadata']['name']} is being removed: wait until it is gone.")
    return found


def _without_nodes(client: Client, daemons: Object) -> list[str]:
    wanted = daemons["spec"]["template"]["spec"].get("nodeSelector") or {}
    try:
        nodes = client.list(bundle.NODES)["items"]
    except HyperdError:
        return []
    if any(wanted.items() <= (node["metadata"].get("labels") or {}).items() for node in nodes):
        return []
    said = ", ".join(f"{key}={value}" for key, value in wanted.items())
    return [f"No node has the labels {said}, so hyperd would run nowhere: add such a node first."]
