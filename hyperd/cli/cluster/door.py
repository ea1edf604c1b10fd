"""A door that is shut while hyperd is uninstalled: nobody makes objects of its kinds, which would be lost.

A policy of the API server's own, so it holds whatever of hyperd is gone already. It is put up before the last look
at what there is and goes with hyperd's other policies; until then it says itself what to do.
"""

from __future__ import annotations

import time

from hyperd.cli.cluster import bundle
from hyperd.cli.cluster.applying import apply, place, remove
from hyperd.cli.waiting import Progress
from hyperd.client import paths
from hyperd.client.resource import Resource
from hyperd.client.sync import Client
from hyperd.errors import Forbidden, Timeout
from hyperd.resources.values.names import GROUP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperd.resources.schema.kind import Object

NAME = "hyperd-uninstalling"
MESSAGE = (
    "hyperd is being uninstalled from this cluster; an administrator's `hv uninstall` goes on with that, "
    "`hv install` takes it back"
)
_LEASES = Resource(
    group="coordination.k8s.io", version="v1", kind="Lease", plural="leases", singular="lease", namespaced=True
)
_PROBED_IN = "kube-system"
_SHUT_SECONDS = 30.0
_PAUSE_SECONDS = 0.3
_SETTLE_SECONDS = 2.0
"""What was let in before is written by then, and another API server of the cluster knows the policy too."""


def objects() -> list[Object]:
    """The policy and its binding, in the order in which they are made."""
    api, labels = "admissionregistration.k8s.io/v1", {bundle.PART_LABEL: bundle.PART}
    metadata = {"name": NAME, "labels": labels}
    ours = {"apiGroups": [GROUP], "apiVersions": ["*"], "operations": ["CREATE"], "resources": ["*"]}
    # Whether it is in force is asked by a Lease that is never made: of these nobody's webhooks want to know.
    probe = {
        "apiGroups": [_LEASES.group], "apiVersions": ["v1"], "operations": ["CREATE"],
        "resources": [_LEASES.plural], "resourceNames": [NAME],
    }  # fmt: skip
    return [
        {
            "apiVersion": api,
            "kind": "ValidatingAdmissionPolicy",
            "metadata": metadata,
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [ours, probe]},
                "validations": [{"expression": "false", "message": MESSAGE, "reason": "Forbidden"}],
            },
        },
        {
            "apiVersion": api,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": metadata,
            "spec": {"policyName": NAME, "validationActions": ["Deny"]},
        },
    ]


def shut(client: Client) -> None:
    """Returns once nobody makes anything of hyperd's kinds any more. Raises Timeout."""
    for obj in objects():
        apply(client, obj)
    shown, deadline = Progress("shutting the door"), time.monotonic() + _SHUT_SECONDS
    try:
        while not _is_shut(client):
            shown.show("the API server does not refuse new objects yet")
            if time.monotonic() > deadline:
                raise Timeout(
                    f"After {_SHUT_SECONDS:.0f} s the API server still lets objects of {GROUP} be made, which "
                    f"would be lost: its ValidatingAdmissionPolicy {NAME} has no effect. Nothing else was changed."
                )
            time.sleep(_PAUSE_SECONDS)
        shown.show("new objects are refused")
        time.sleep(_SETTLE_SECONDS)
    finally:
        shown.done()


def open_again(client: Client) -> bool:
    """Have objects be made as before; whether the door was there."""
    there = [obj for obj in reversed(objects()) if client.find(*place(obj)) is not None]
    gone = [remove(client, obj) for obj in there]
    return any(gone)


def _is_shut(client: Client) -> bool:
    lease = {
        "apiVersion": _LEASES.api_version,
        "kind": _LEASES.kind,
        "metadata": {"name": NAME, "namespace": _PROBED_IN},
    }
    path = paths.collection(_LEASES, _PROBED_IN) + paths.query({"dryRun": "All"})
    try:
        client.call("POST", path, body=lease)
    except Forbidden as err:
        if MESSAGE in err.message:
            return True
        raise
    return False
