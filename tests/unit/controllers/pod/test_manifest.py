"""The Pod of a machine: what a scheduler, a quota, a Service and Pod Security see of it."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from hyperd.controllers.node import fitting
from hyperd.controllers.pod.manifest import make_manifest, pod_name
from hyperd.resources.values import names
from tests.parts import Part, part
from tests.unit.controllers.pod.machines import CONF, UID, class_, machine

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_POD_TERM = {"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "zone", "namespaces": ["shop"]}


def pod(machine_: Part | None = None, of: Part | None = None, **kwargs: Any) -> Part:
    return make_manifest(part(machine_ or machine()), part(of or class_()), CONF, **kwargs)


def made_of(obj: Part) -> str:
    return str(obj["metadata"]["annotations"][names.POD_MADE_OF_ANNOTATION])


_STAYS = [
    {"key": f"node.kubernetes.io/{state}", "operator": "Exists", "effect": "NoExecute"}
    for state in ("not-ready", "unreachable")
]
"""A node that is silent for minutes does not cost a guest its Pod, and so its life once the node is back."""


def test_who_wants_its_pod_to_go_after_minutes_says_so() -> None:
    own = {
        "key": "node.kubernetes.io/unreachable",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": 9,
    }
    other = {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoSchedule"}
    spec = pod(machine(tolerations=[own, other]))["spec"]
    assert spec["tolerations"] == [own, other, _STAYS[0]]


def test_the_whole_pod_of_a_plain_machine() -> None:
    made = pod(machine(labels={"app": "web"}, annotations={"note": "x"}))
    annotations = made["metadata"].pop("annotations")
    assert annotations["note"] == "x"
    assert annotations[names.POD_CARRIED_ANNOTATION] == '{"labels":["app"],"annotations":["note"]}'
    ready = {"exec": {"command": ["/usr/lib/hyperd/launcher", "ready", "/run/hyperd"]}}
    assert made == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": "shop",
            "name": "virt-launcher-web-c9d0b",
            "labels": {
                "app": "web",
                "kubevirt.internal.virtualization.deckhouse.io": "virt-launcher",
                "virtualization.deckhouse.io/virtual-machine-uid": UID,
                "vm.kubevirt.internal.virtualization.deckhouse.io/name": "web",
            },
            "ownerReferences": [
                {
                    "apiVersion": "virtualization.deckhouse.io/v1alpha2",
                    "kind": "VirtualMachine",
                    "name": "web",
                    "uid": UID,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 75,
            "nodeSelector": {"virtualization.deckhouse.io/kvm-enabled": "true"},
            "tolerations": _STAYS,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "runAsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "compute",
                    "image": "registry.example/hyperd:1",
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["/usr/lib/hyperd/launcher", "run", "/run/hyperd"],
                    "resources": {
                        "requests": {"cpu": "500m", "memory": "1104Mi"},
                        "limits": {"cpu": "2", "memory": "1104Mi"},
                    },
                    "startupProbe": {**ready, "periodSeconds": 2, "failureThreshold": 2147483647},
                    "readinessProbe": {**ready, "periodSeconds": 10, "failureThreshold": 1},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [{"name": "hyperd", "mountPath": "/run/hyperd"}],
                }
            ],
            "volumes": [{"name": "hyperd", "emptyDir": {"sizeLimit": "1Mi"}}],
        },
    }


def test_whole_cores_are_guaranteed() -> None:
    resources = pod(machine(cpu={"cores": 3}))["spec"]["containers"][0]["resources"]
    assert resources["requests"]["cpu"] == "3000m"
    assert resources["limits"] == {"cpu": "3", "memory": resources["requests"]["memory"]}


def test_a_grace_period_of_none_is_none_for_the_guest() -> None:
    assert pod(machine(terminationGracePeriodSeconds=0))["spec"]["terminationGracePeriodSeconds"] == 15


def test_no_label_of_the_machine_takes_our_own_place() -> None:
    made = pod(machine(labels={names.VM_UID_LABEL: "another's", "app": "web"}))
    assert made["metadata"]["labels"][names.VM_UID_LABEL] == UID


def test_all_words_for_a_scheduler_are_handed_on() -> None:
    tolerations = [{"key": "for", "operator": "Exists"}]
    spread = [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]
    near = {_REQUIRED: [_POD_TERM], _PREFERRED: [{"weight": 7, "virtualMachineAndPodAffinityTerm": _POD_TERM}]}
    spec = pod(
        machine(
            nodeSelector={"disk": "fast", "zone": "a"},
            tolerations=tolerations,
            topologySpreadConstraints=spread,
            priorityClassName="vital",
            affinity={"virtualMachineAndPodAffinity": near, "virtualMachineAndPodAntiAffinity": near},
        ),
        class_(nodeSelector={"matchLabels": {"zone": "b"}}, tolerations=[{"key": "of-class", "value": "1"}]),
    )["spec"]
    assert spec["nodeSelector"] == {"disk": "fast", "zone": "b", names.KVM_ENABLED_LABEL: "true"}
    assert spec["tolerations"] == [*tolerations, {"key": "of-class", "value": "1"}, *_STAYS]
    assert spec["topologySpreadConstraints"] == spread
    assert spec["priorityClassName"] == "vital"
    translated = {_REQUIRED: [_POD_TERM], _PREFERRED: [{"weight": 7, "podAffinityTerm": _POD_TERM}]}
    assert spec["affinity"] == {"podAffinity": translated, "podAntiAffinity": translated}


def test_disks_keep_it_on_their_node() -> None:
    terms = pod(node="metal")["spec"]["affinity"]["nodeAffinity"][_REQUIRED]["nodeSelectorTerms"]
    assert terms == [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["metal"]}]}]


def test_it_is_another_pod_where_it_asks_for_something_else() -> None:
    before = made_of(pod())
    assert made_of(pod(node="metal")) == before
    assert made_of(pod(machine(labels={"app": "web"}))) == before
    assert made_of(pod(machine(cpu={"cores": 1}))) != before
    assert made_of(pod(machine(nodeSelector={"zone": "a"}))) != before
    assert made_of(pod(of=class_(tolerations=[{"operator": "Exists"}]))) != before


def test_another_machine_of_this_name_has_another_pod() -> None:
    other = machine()
    other["metadata"]["uid"] = "another"
    assert pod_name(other) != pod_name(machine())


_VALUES = st.sampled_from(("a", "b", "5"))
_KEYS = st.sampled_from(("zone", "disks"))
_EXPRESSIONS = st.one_of(
    st.fixed_dictionaries(
        {"key": _KEYS, "operator": st.sampled_from(("In", "NotIn")), "values": st.lists(_VALUES, min_size=1)}
    ),
    st.fixed_dictionaries({"key": _KEYS, "operator": st.sampled_from(("Exists", "DoesNotExist"))}),
    st.fixed_dictionaries({"key": _KEYS, "operator": st.sampled_from(("Gt", "Lt")), "values": st.just(["4"])}),
)
_LABELS = st.dictionaries(_KEYS, _VALUES)
_TERMS = st.fixed_dictionaries({}, optional={"matchExpressions": st.lists(_EXPRESSIONS, max_size=2)})
_PROCESSORS = st.sampled_from((
    {"type": "Host"},
    {"type": "Model", "model": "Nehalem"},
    {"type": "Features", "features": ["aes"]},
))  # fmt: skip
_OWN = (
    names.KVM_ENABLED_LABEL,
    f"{names.CPU_MODEL_LABEL_PREFIX}Nehalem",
    f"{names.CPU_FEATURE_LABEL_PREFIX}aes",
)


@settings(max_examples=300, deadline=None)
@given(
    node_labels=_LABELS,
    has=st.sets(st.sampled_from(_OWN[1:])),
    own=_LABELS,
    terms=st.none() | st.lists(_TERMS, min_size=1, max_size=3),
    of_class=st.fixed_dictionaries(
        {}, optional={"matchLabels": _LABELS, "matchExpressions": st.lists(_EXPRESSIONS, max_size=2)}
    ),
    cpu=_PROCESSORS,
)
def test_a_scheduler_is_asked_for_the_nodes_that_suit_the_machine(
    node_labels: Part, has: set[str], own: Part, terms: list[Part] | None, of_class: Part, cpu: Part
) -> None:
    labels = {**node_labels, **dict.fromkeys(has, "true"), names.KVM_ENABLED_LABEL: "true"}
    node = part({"metadata": {"name": "metal", "labels": labels}, "spec": {}})
    wanted: Part = {"nodeSelector": own}
    if terms is not None:
        wanted["affinity"] = {"nodeAffinity": {_REQUIRED: {"nodeSelectorTerms": terms}}}
    asking, kind = machine(**wanted), class_(cpu, nodeSelector=of_class)
    suits = not fitting.misfit(node, part(asking["spec"]), part(kind))
    spec = pod(asking, kind)["spec"]
    required = spec.get("affinity", {}).get("nodeAffinity", {}).get(_REQUIRED)
    chosen = fitting.fits(node, part({"matchLabels": spec["nodeSelector"]})) and (
        required is None or any(fitting._meets(node, part(term)) for term in required["nodeSelectorTerms"])
    )
    assert chosen == suits
