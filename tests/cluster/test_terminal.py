"""The terminal interface on a real API server that has other people's kinds, beside a home of hyperd's own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from hyperd.client.home import Home
from hyperd.client.kubeconfig import load
from tests.cluster.controlplane.plane import Cluster
from tests.host.node import wait_until
from tests.tui.conftest import empty_world, looking_at, world
from tests.tui.world import World

__all__ = ["empty_world", "world"]

pytestmark = pytest.mark.cluster
NAMESPACE = "others"
Object = dict[str, Any]
ANYTHING: Object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
CERTIFICATE: Object = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["secretName", "issuerRef"],
            "properties": {
                "secretName": {"type": "string", "description": "Where the key and the certificate are put."},
                "issuerRef": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {"name": {"type": "string"}, "kind": {"type": "string"}},
                },
                "dnsNames": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "atomic"},
                "revisionHistoryLimit": {"type": "integer", "format": "int32"},
            },
        },
        "status": {
            "type": "object",
            "properties": {
                "conditions": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["type"],
                    "items": {
                        "type": "object",
                        "required": ["type", "status"],
                        "properties": {
                            **{name: {"type": "string"} for name in ("type", "status", "reason", "message")},
                            "observedGeneration": {"type": "integer", "format": "int64"},
                        },
                    },
                },
                "notAfter": {"type": "string", "format": "date-time"},
            },
        },
    },
}
ODD: Object = {
    "type": "object",
    "properties": {
        "port": {"x-kubernetes-int-or-string": True},
        "status": {"type": "string"},
        "conditions": ANYTHING,
        "nested": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
        "template": {"type": "object", "x-kubernetes-embedded-resource": True, **ANYTHING},
        "quantity": {"type": "number"},
    },
}


def kind(name: str, group: str, schema: Object, *, scope: str = "Namespaced", **version: Any) -> Object:
    """A definition of ``name``, its plural's singular made of it as people do."""
    plural = f"{name.lower()}s"
    short = version.pop("short", [])
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": scope,
            "names": {"kind": name, "plural": plural, "shortNames": short},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    **version,
                }
            ],
        },
    }


COLUMNS = [
    {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
    {"name": "Secret", "type": "string", "jsonPath": ".spec.secretName"},
    {"name": "Expires", "type": "date", "jsonPath": ".status.notAfter"},
]
ODD_COLUMNS = [
    {"name": "Port", "type": "string", "jsonPath": ".port"},
    {"name": "All of it", "type": "string", "jsonPath": ".nested"},
    {"name": "Never", "type": "date", "jsonPath": ".status"},
    {"name": "How much", "type": "number", "jsonPath": ".quantity"},
]
KINDS = (
    kind("Certificate", "certs.example", CERTIFICATE, short=["cert"], additionalPrinterColumns=COLUMNS,
         subresources={"status": {}}),
    kind("ClusterIssuer", "certs.example", ANYTHING, scope="Cluster"),
    kind("Quirk", "shapes.example", ODD, additionalPrinterColumns=ODD_COLUMNS),
    kind("VirtualMachine", "virt.example", ANYTHING, short=["vm"]),
)  # fmt: skip


def one(of: Object, name: str, **body: Any) -> Object:
    spec = of["spec"]
    metadata = {"name": name} | ({"namespace": NAMESPACE} if spec["scope"] == "Namespaced" else {})
    return {"apiVersion": f"{spec['group']}/v1", "kind": spec["names"]["kind"], "metadata": metadata, **body}


GROUPS = {each["spec"]["group"] for each in KINDS}
CERTIFICATES, ISSUERS, QUIRKS, MACHINES = KINDS
ISSUER = {"name": "letsencrypt", "kind": "ClusterIssuer"}
OBJECTS = (
    one(CERTIFICATES, "web-tls", spec={"secretName": "web-key", "issuerRef": ISSUER, "dnsNames": ["a.example"]}),
    one(ISSUERS, "letsencrypt.v2", spec={"acme": {"solvers": [{"http01": {}}, None]}},
        status={"conditions": "none"}),
    one(QUIRKS, "plain"),
    one(QUIRKS, "full", port="http", status="\x1b[31mred", nested=[[1, 2], []], quantity=1.5,
        conditions={"Ready": "yes"}, template={"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}}),
    one(MACHINES, "theirs", spec={"running": True}, status={"printableStatus": "Running", "conditions": [3, {}]}),
)  # fmt: skip


def known_of(cluster: Cluster) -> set[str]:
    """The groups that kubectl finds, which asks anew for this."""
    told = cluster.kubectl("api-resources", "-o", "name").split()
    return GROUPS & {name.partition(".")[2] for name in told}


@pytest.fixture
def others(cluster: Cluster) -> Iterator[Home]:
    """The cluster as a home, with kinds and objects that are nothing of ours."""
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}, *KINDS)
    try:
        cluster.apply(*OBJECTS)
        home = load([str(cluster.kubeconfig)]).home()
        home.name = "cluster"
        yield home
    finally:
        cluster.kubectl("delete", "--ignore-not-found", "crd", *(each["metadata"]["name"] for each in KINDS))
        cluster.kubectl("delete", "--ignore-not-found", "--wait=false", "namespace", NAMESPACE)
        # kubectl keeps what it was told of kinds, and would take another test's "vm" for the one that is gone.
        wait_until(lambda: not known_of(cluster), what="the end of others' kinds")


async def test_kinds_of_others_are_listed_followed_shown_and_made(
    cluster: Cluster, others: Home, world: World
) -> None:
    async def kubectl(*args: str, stdin: str = "") -> str:
        return await asyncio.to_thread(cluster.kubectl, "--namespace", NAMESPACE, *args, stdin=stdin)

    def cells(name: str) -> list[str]:
        """Of its row, not of the detail's title beside it."""
        return ui.line(f"  {name}  ").split()

    async with looking_at(world.home, others, size=(160, 45)) as ui:
        await ui.shows("web-7", "cluster ●")
        await ui.type(":cert")
        await ui.press("enter")
        await ui.until(lambda: "web-key" in cells("web-tls"), "the certificate")
        assert {"READY", "SECRET", "EXPIRES"} <= set(ui.line("NAMESPACE").split())
        ready = {"type": "Ready", "status": "False", "reason": "Denied", "message": "the issuer said no"}
        status = {"status": {"conditions": [ready], "notAfter": "2020-01-01T00:00:00Z"}}
        patch = ("patch", "certificates", "web-tls", "--subresource=status", "--type=merge", "-p")
        await kubectl(*patch, json.dumps(status))
        await ui.until(lambda: "False" in cells("web-tls"), "its condition, as it is now")
        await ui.press("y")
        await ui.shows("secretName: web-key")
        await ui.press("w")
        await ui.shows("the issuer said no")
        await ui.press("escape")

        for word, name, shown in (
            ("clusterissuers", "letsencrypt.v2", "solvers:"),
            ("quirks", "full", "- - 1"),
            ("quirks", "plain", "kind: Quirk"),
            ("virtualmachines.virt.example", "theirs", "running: true"),
        ):
            await ui.type(f":{word} {name}")
            await ui.press("enter")
            await ui.until(partial(cells, name), f"{word} {name}")
            await ui.press("y")
            await ui.shows(shown)
            assert "\x1b" not in ui.text

        await ui.press("1")
        await ui.until(lambda: bool(cells("web-7")) and "theirs" not in ui.text, "the machines that are ours")

        await ui.type(":certificates")
        await ui.press("enter")
        await ui.until(partial(cells, "web-tls"), "the certificate")
        await kubectl("delete", "certificates", "web-tls")
        await ui.until(lambda: not cells("web-tls"), "its end")
        await kubectl("delete", "crd", "certificates.certs.example")
        await ui.press("1")
        await ui.shows("web-7", "cluster ●")
