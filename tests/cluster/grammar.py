"""Requests that a kube-apiserver and the embedded home must answer alike, as data.

``{old}``, ``{last}``, ``{rv}`` and ``{future}`` stand for resourceVersions of the home that is asked, ``{token}``
for a continue token of it, CM and VM for the collections of the namespace that the test fills.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

CM = "/api/v1/namespaces/grammar/configmaps"
VM = "/apis/virtualization.deckhouse.io/v1alpha2/namespaces/grammar/virtualmachines"
CLASSES = "/apis/virtualization.deckhouse.io/v1alpha2/virtualmachineclasses"


@dataclass(frozen=True)
class Ask:
    """One request."""

    method: str
    path: str
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


_LISTS = (
    "", "?limit=2", "?limit=2&continue={token}", "?continue={token}", "?limit=-1", "?limit=0", "?limit=",
    "?limit=x", "?limit=1.5", "?limit=99999999999999999999", "?limit=1&limit=3", "?limit=2&labelSelector=odd%3D0",
    "?foo=bar", "?continue=abc", "?continue={token}&resourceVersion={rv}", "?timeoutSeconds=x",
    "?timeoutSeconds=-1", "?resourceVersion={last}", "?resourceVersion={old}", "?resourceVersion=0",
    "?resourceVersion=x", "?resourceVersion=-1", "?resourceVersion={future}",
    "?resourceVersion=9223372036854775807", "?resourceVersion=99999999999999999999",
    "?resourceVersion={rv}&resourceVersionMatch=Exact",
    "?resourceVersion={rv}&resourceVersionMatch=Exact&limit=2", "?resourceVersion=0&resourceVersionMatch=Exact",
    "?resourceVersionMatch=Exact", "?resourceVersionMatch=NotOlderThan", "?resourceVersionMatch=Latest",
    "?resourceVersion={old}&resourceVersionMatch=NotOlderThan",
    "?resourceVersion={rv}&resourceVersionMatch=Latest", "?resourceVersion={future}&resourceVersionMatch=Exact",
    "?sendInitialEvents=true", "?sendInitialEvents=false", "?resourceVersion=0&resourceVersionMatch=NotOlderThan",
    "?continue={token}&resourceVersionMatch=Exact",
    "?continue={token}&resourceVersionMatch=Exact&resourceVersion={rv}", "?watch=false", "?watch=0",
    "?watch=1&sendInitialEvents=true", "?watch=1&sendInitialEvents=true&resourceVersionMatch=Exact",
    "?watch=1&resourceVersionMatch=NotOlderThan", "?watch=1&resourceVersionMatch=Latest&sendInitialEvents=1",
    "?watch=1&continue={token}", "?watch=1&timeoutSeconds=x", "?watch=1&fieldSelector=foo%3Dbar",
    "?watch=1&labelSelector=%3D",
)  # fmt: skip
_LABELS = (
    "odd=0", "odd==0", "odd!=0", "odd in (0)", "odd in (0,1)", "odd notin (0)", "odd", "!odd", "! odd",
    "odd=0,n=2", "odd=0,,n=2", ",odd=0", "odd=0,", "odd=", "odd!=", "odd in ()", "odd in (", "odd in (,)",
    "odd in 0", "odd>0", "odd<1", "odd>a", "n>2", "n<2", "n>1,n<4", "n>1.5", "n>-5", "odd gt 0", "odd exists",
    "=0", "odd=a=b", "odd=$$", "a/b/c=d", "A_.b/c=d", "-x", "odd in (0 1)", "odd in (0,,1)", "odd notin (,)",
    "x" * 64, "a=" + "x" * 64, " odd = 0 ", "odd=0 n=1", "!odd=0", "a.b/c", "/c", "a/", "(odd)", "odd=é", "*",
    "odd in(0)", "odd in (0)n", "\todd\n=0", "odd===0", "odd=!0", "odd,!n", "!!n",
)  # fmt: skip
_FIELDS = (
    "metadata.name={name}", "metadata.name=={name}", "metadata.name!={name}", "metadata.namespace=grammar",
    "metadata.namespace=x", "metadata.name={name},metadata.namespace=grammar", "foo=bar", "data.k=v",
    "metadata.name={name},metadata.name=no", "metadata.name", "metadata.name=", "={name}", "metadata.name=a=b",
    r"metadata.name=a\=b", "metadata.name=a\\", r"metadata.name=a\,b", r"metadata.name=a\x",
    "metadata.name={name},", ",", "metadata.name>a", "metadata.name in (a)", "!metadata.name",
    "metadata.name ={name}", "metadata.name= {name}", "metadata.uid=x", "status.phase=Running",
    "metadata.name==={name}",
)  # fmt: skip
_OF_KINDS = (
    ("/api/v1/namespaces", "status.phase=Active,metadata.name=grammar"),
    ("/api/v1/namespaces", "metadata.namespace="),
    ("/api/v1/events", "involvedObject.name=x,involvedObject.kind=y,involvedObject.uid=z"),
    ("/api/v1/events", "involvedObject.namespace=x,involvedObject.apiVersion=v1,involvedObject.fieldPath=z"),
    ("/api/v1/events", "reason=x,source=y,type=z,reportingComponent=a"), ("/api/v1/events", "message=x"),
    ("/api/v1/namespaces/grammar/secrets", "type=Opaque"),
    ("/api/v1/nodes", "spec.unschedulable=false,metadata.name=x"),
    ("/api/v1/pods", "spec.nodeName=x,status.phase=y,spec.restartPolicy=Never,spec.schedulerName=z"),
    ("/api/v1/services", "spec.type=NodePort,spec.clusterIP=y"), ("/api/v1/persistentvolumes", "status.phase=x"),
    ("/apis/coordination.k8s.io/v1/leases", "metadata.name=x"), (CLASSES, "metadata.namespace=x"),
)  # fmt: skip
_ACCEPTS = (
    "application/json", "*/*", "text/html", "text/*", "application/yaml", "application/xml",
    "application/json;q=0.5,application/yaml;q=0.9", "text/html,application/json;q=0.1", "application/cbor",
    "application/json;as=Table;v=v1;g=meta.k8s.io", "application/json;as=Table;v=v1beta1;g=meta.k8s.io",
    "application/json;as=Table;v=v2;g=meta.k8s.io", "application/json;as=Table;v=v1",
    "application/json;as=Foo;v=v1;g=meta.k8s.io", "application/json;as=Foo;v=v1;g=meta.k8s.io,application/json",
    "application/json;charset=utf-8",
)  # fmt: skip
_ONE = ("application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",)
_MANY = (
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadataList;v=v1beta1;g=meta.k8s.io",
)
_METADATA = "as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_TABLE = {"Accept": _ACCEPTS[9]}
_DISCOVERY = (
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", "application/json", "text/html",
    "application/json;g=apidiscovery.k8s.io;v=v3;as=APIGroupDiscoveryList", "application/yaml",
    "application/json;g=apidiscovery.k8s.io;v=v3;as=APIGroupDiscoveryList,application/json",
)  # fmt: skip


def reads() -> Iterator[Ask]:
    """GETs: pages, versions, selectors, forms, discovery."""
    for base, name in ((CM, "m1"), (VM, "v1")):
        yield from (Ask("GET", base + query) for query in _LISTS)
        yield from (Ask("GET", f"{base}?fieldSelector={quote(one.replace('{name}', name))}") for one in _FIELDS)
        yield from (Ask("GET", base, headers={"Accept": accept}) for accept in (*_ACCEPTS, *_MANY))
        yield from (Ask("GET", f"{base}/{name}", headers={"Accept": accept}) for accept in (*_ACCEPTS, *_ONE))
        yield from (
            Ask("GET", f"{base}?includeObject={value}", headers=_TABLE)
            for value in ("None", "Metadata", "Object", "", "none", "Foo")
        )
        yield Ask("GET", base, headers={"Accept": f"application/json;{_METADATA},application/json"})
        yield Ask("GET", f"{base}?watch=1&resourceVersion={{rv}}", headers={"Accept": "application/yaml"})
    yield from (Ask("GET", f"{CM}?labelSelector={quote(one)}") for one in _LABELS)
    yield from (Ask("GET", f"{path}?fieldSelector={quote(one)}") for path, one in _OF_KINDS)
    for root in ("/api", "/apis", "/api/v1", "/apis/virtualization.deckhouse.io"):
        yield from (Ask("GET", root, headers={"Accept": accept}) for accept in _DISCOVERY)
    yield from (Ask("GET", path) for path in (CLASSES, f"{CLASSES}/nope", CLASSES.replace("v1alpha2", "v1alpha3")))
    yield from (
        Ask("GET", path)
        for path in (
            "/version", "/version/", "/healthz", "/livez", "/readyz", "/api/", "/api/v1/", "/api/v2", "/apis/",
            "/apis/nope", "/apis/virtualization.deckhouse.io/v9", "/nope", "//api/v1", f"{CM}/", f"{CM}/nope",
            f"{CM}/m1/nope", f"{VM}/v1/status", f"{VM}/v1/nope", "/api/v1/nope", "/api/v1/namespaces/grammar/nope",
            "/api/v1/namespaces/nope/configmaps", f"{CM}/%6d1", f"{CM}/..%2fsecrets", f"{CM}/m1%00", f"{CM}/%ff",
        )
    )  # fmt: skip


def writes(old: dict[str, Any]) -> Iterator[Ask]:
    """What is refused, and rehearsals; ``old`` is the machine v1 as a body. None of them changes anything."""
    merge = {"Content-Type": "application/merge-patch+json"}
    for query in ("dryRun=all", "dryRun=", "dryRun=All&dryRun=x", "dryRun=All&fieldValidation=strict",
                  "dryRun=All&fieldValidation=", f"dryRun=All&fieldManager={'x' * 129}",
                  f"dryRun=All&fieldManager={'x' * 128}"):  # fmt: skip
        yield Ask("POST", f"{CM}?{query}", {"metadata": {"name": "new"}})
        yield Ask("PATCH", f"{VM}/v1?{query}", {"metadata": {"labels": {"a": "b"}}}, merge)
    for body in ({"propagationPolicy": "Foo"}, {"orphanDependents": True, "propagationPolicy": "Orphan"},
                 {"preconditions": {"uid": "x"}}, {"preconditions": {"resourceVersion": "1"}}, {"dryRun": ["x"]},
                 {"propagationPolicy": "Background", "dryRun": ["All"]}):  # fmt: skip
        yield Ask("DELETE", f"{CM}/m1", body)
        yield Ask("DELETE", f"{VM}/v1", body)
    for query in ("propagationPolicy=Foo", "propagationPolicy=", "gracePeriodSeconds=x", "dryRun=x",
                  "orphanDependents=true&propagationPolicy=Orphan"):  # fmt: skip
        yield Ask("DELETE", f"{CM}/m1?{query}")
        yield Ask("DELETE", f"{CM}?{query}")
    for query in ("labelSelector=%3D", "fieldSelector=x%3Dy", "dryRun=All&limit=1", "dryRun=All&continue=abc",
                  "labelSelector=odd%3D1&dryRun=All", "fieldSelector=metadata.name%3Dm1&dryRun=All"):  # fmt: skip
        yield Ask("DELETE", f"{CM}?{query}")
    for path in ("/api/v1/configmaps", "/api/v1/namespaces", f"{CM}/nope", "/version"):
        yield Ask("DELETE", path)
    for accept in ("text/html", "application/json;as=Foo;v=v1;g=meta.k8s.io"):
        yield Ask("POST", CM, {"metadata": {"name": "refused"}}, {"Accept": accept})
        yield Ask("DELETE", f"{CM}/m1", None, {"Accept": accept})
        yield Ask("PATCH", f"{CM}/m1", {}, merge | {"Accept": accept})
    yield Ask("GET", f"{CM}/refused")
    for change in ({}, {"resourceVersion": "1"}, {"name": "v2"}, {"namespace": "x"}):
        yield Ask("PUT", f"{VM}/v1", old | {"metadata": {"name": "v1", **change}})
    for content_type in ("text/plain", "application/xml", "multipart/form-data", "application/cbor",
                         "application/apply-patch", "application/json"):  # fmt: skip
        yield Ask("PATCH", f"{CM}/m1", {}, {"Content-Type": content_type})
        if content_type != "application/json":
            yield Ask("POST", f"{CM}?dryRun=All", {"metadata": {"name": "x"}}, {"Content-Type": content_type})


_SERVICES: Sequence[Any] = (
    {}, {"type": "Foo", "ports": [{"port": 1}]}, {"type": "NodePort"}, {"type": "LoadBalancer"},
    {"type": "ExternalName"}, {"type": "ExternalName", "externalName": "a_b"},
    {"type": "NodePort", "clusterIP": "None", "ports": [{"port": 1}]},
    {"clusterIP": "x", "ports": [{"port": 1}]}, {"sessionAffinity": "x", "ports": [{"port": 1}]},
    {"ports": [{"port": 0}]}, {"ports": [{"port": 65536}]}, {"ports": [{"port": -1, "targetPort": 80}]},
    {"ports": [{"port": 1, "targetPort": 70000}]}, {"ports": [{"port": 1, "targetPort": "Upper"}]},
    {"ports": [{"port": 1, "targetPort": "a-name-that-is-too-long"}]}, {"ports": [{"port": 1, "targetPort": "1"}]},
    {"ports": [{"port": 1, "protocol": "tcp"}]}, {"ports": [{"port": 1}, {"port": 2}]},
    {"ports": [{"port": 1, "name": "a"}, {"port": 2, "name": "a"}]}, {"ports": [{"port": 1, "name": "A"}]},
    {"ports": [{"port": 1, "name": "a"}, {"port": 1, "name": "b"}]}, {"ports": [{"port": 1, "nodePort": 30000}]},
    {"externalIPs": ["x"], "ports": [{"port": 1}]}, {"externalTrafficPolicy": "Local", "ports": [{"port": 1}]},
    {"internalTrafficPolicy": "x", "ports": [{"port": 1}]},
)  # fmt: skip
_QUOTAS: Sequence[Any] = (
    {"hard": {"pods": "-1"}}, {"hard": {"pods": "1.5"}}, {"hard": {"count/secrets": "500m"}},
    {"hard": {"nonsense": "1"}}, {"hard": {"a b": "1"}},
)  # fmt: skip
_CLASSES: Sequence[Any] = (
    {}, {"provisioner": ""}, {"provisioner": "a b"}, {"provisioner": "x.y/z", "reclaimPolicy": "Recycle"},
    {"provisioner": "x.y/z", "volumeBindingMode": "Later"},
    {"provisioner": "x.y/z", "allowedTopologies": [{"matchLabelExpressions": [{"key": "zone"}]}]},
)  # fmt: skip


def core_refusals() -> Iterator[Ask]:
    """Core kinds that mean nothing."""
    for base, specs in (("services", _SERVICES), ("resourcequotas", _QUOTAS)):
        path = f"/api/v1/namespaces/grammar/{base}?dryRun=All"
        yield from (Ask("POST", path, {"metadata": {"name": "x"}, "spec": spec}) for spec in specs)
    for fields in _CLASSES:
        yield Ask(
            "POST", "/apis/storage.k8s.io/v1/storageclasses?dryRun=All", {"metadata": {"name": "x"}, **fields}
        )


_TERMS_TOO_MANY = ",".join(f"metadata.name!=x{number}" for number in range(33))
_TERMS_COST = "each term of a selector is asked of every object and every event, in a loop that all share"
EXPLAINED: Sequence[tuple[Ask, int, int, str]] = (
    (Ask("GET", f"{CM}?watch=yes"), 400, 200, "Go's ParseBool has no such word; a typo must not become a watch"),
    (Ask("GET", f"{CM}?labelSelector=%zz"), 400, 200, "a selector that is lost selects everything"),
    (Ask("DELETE", f"{CM}/m1", {"dryRun": "All"}), 400, 500, "a malformed body is the client's fault"),
    (Ask("DELETE", f"{CM}/m1", {"gracePeriodSeconds": "x"}), 400, 500, "a malformed body is the client's fault"),
    (Ask("PUT", f"{CM}/m1", {"metadata": {"name": "m1", "resourceVersion": "x"}}), 409, 500,
     "whatever the version is, it is not the current one"),
    (Ask("GET", CM, headers={"Accept": "application/*"}), 200, 406, "RFC 9110 says that JSON matches it"),
    (Ask("HEAD", CM), 200, 405, "RFC 9110 asks it of every server"),
    (Ask("POST", f"{CM}?dryRun=All", {"metadata": {"name": "x"}},
         {"Content-Type": "application/x-www-form-urlencoded"}), 201, 415, "what curl -d calls a body"),
    (Ask("GET", f"{CM}?labelSelector={quote(_TERMS_TOO_MANY.replace('metadata.', ''))}"), 400, 200, _TERMS_COST),
    (Ask("GET", f"{CM}?fieldSelector={quote(_TERMS_TOO_MANY)}"), 400, 200, _TERMS_COST),
    (Ask("GET", f"{CM}?watch=1&fieldSelector={quote(_TERMS_TOO_MANY)}"), 400, 200, _TERMS_COST),
)  # fmt: skip
"""Request, our status, kube-apiserver's, and why we differ."""
