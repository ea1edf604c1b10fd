"""``hv install`` and ``hv upgrade``: have a cluster be one with this version's hyperd, however far it is."""

from __future__ import annotations

import argparse
import hashlib
import json
import time

from hyperd.cli.cluster import bundle, door, lost, older, preflight, rollout
from hyperd.cli.cluster.applying import apply, made_by_hv, others, place, remove, title
from hyperd.cli.cluster.home import cluster_of
from hyperd.cli.cluster.leaving import is_leaving, until_gone
from hyperd.cli.options import seconds
from hyperd.cli.printing import emit
from hyperd.cli.waiting import Progress
from hyperd.client import sanitize
from hyperd.client.sync import Client
from hyperd.errors import BadRequest, Conflict, HyperdError, Timeout
from hyperd.resources.values.names import KVM_ENABLED_LABEL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperd.resources.schema.kind import Object

EXAMPLES = {
    "install": "  hv install --image registry.example.org/hyperd:0.1.0 --settings hyperd.toml\n"
    "  hv install --image registry.example.org/hyperd:0.1.0 --dry-run\n",
    "upgrade": "  hv upgrade --image registry.example.org/hyperd:0.2.0\n"
    "  hv upgrade                  what changed in this version's manifests, or in the settings\n",
}
_VERBS = ("get", "list", "create", "patch")
_ESTABLISHED_SECONDS = 60.0
_PAUSE_SECONDS = 0.3
_KEPT = ("Namespace", "CustomResourceDefinition")
"""What is never pruned: everything of users' would go with it."""
_PRUNED_IN = ("kube-system",)
"""Namespaces that hyperd has something in, besides its own."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    image = "hyperd's image of this version, as nodes pull it (default: the one that is installed)"
    parser.add_argument("--image", default="", metavar="REF", help=image)
    settings = "hyperd.toml for the daemons; without it the ConfigMap hyperd stays as it is"
    parser.add_argument("--settings", default="", metavar="FILE", help=settings)
    parser.add_argument("--dry-run", action="store_true", help="let the server check all of it, write nothing")
    help_ = "override what others have set otherwise; without it that is named, and nothing changed"
    parser.add_argument("--force-conflicts", action="store_true", help=help_)
    help_ = "take an older version, or an image whose tag says so, though it may not read what the newer one wrote"
    parser.add_argument("--downgrade", action="store_true", help=help_)
    help_ = "go on without a node that has not been Ready for so long (default 5m)"
    parser.add_argument("--lost-after", type=seconds, default=300.0, metavar="TIME", help=help_)
    parser.add_argument("-t", "--timeout", type=seconds, default=900.0, help="longest wait (default 15m)")


def run(args: argparse.Namespace) -> int:
    """Check, apply in order, wait for every node."""
    client = cluster_of(args)
    preflight.require_rights(client, bundle.load("hyperd"), _VERBS)
    live = client.find(bundle.RESOURCES["DaemonSet"], bundle.daemons_namespace(), bundle.DAEMONS)
    if live is None and args.command == "upgrade":
        raise BadRequest("There is no hyperd in this cluster; `hv install --image REF` installs it.")
    image = args.image or (bundle.image_of(live) if live else "")
    if not image:
        raise BadRequest("Say which image is hyperd's, as nodes pull it: --image REGISTRY/hyperd:TAG.")
    objects = bundle.load(image)
    if live is not None and not args.downgrade:
        older.refuse(live, bundle.daemons(objects))
    if found := preflight.missing(client, objects):
        raise BadRequest("hyperd cannot be installed in this cluster:\n" + "\n".join(f"- {one}" for one in found))
    if live is not None:
        emit([sanitize.line(f"hyperd {_told(live)} → {_told(bundle.daemons(objects))}")])
    if args.settings:
        objects.insert(_place_of_settings(objects), bundle.settings(args.settings))
    _note_settings(client, objects)
    if not args.force_conflicts:
        _refuse_overriding(client, objects)
    if args.dry_run:
        for obj in objects:
            came = apply(client, obj, dry_run=True, force=args.force_conflicts)
            emit([f"{sanitize.line(title(obj))} {came} (dry run)"])
        for obj in _outdated(client, objects):
            emit([f"{sanitize.line(title(obj))} removed (dry run)"])
        return 0
    if live is not None and is_leaving(live):
        remove(client, live)
        until_gone(client, *place(live), args.timeout)
    if door.open_again(client):
        emit(["An uninstall had begun; it is taken back."])
    _apply_all(client, objects, force=args.force_conflicts)
    for obj in _outdated(client, objects):
        remove(client, obj)
        emit([f"{sanitize.line(title(obj))} removed: this version has none"])
    label = f"hyperd {bundle.version_of(bundle.daemons(objects))}"
    giving = lost.Giving(client, args.lost_after)
    try:
        done = rollout.wait(client, label, args.timeout, look=giving.look)
    finally:
        giving.end()
    _say_what_next(client, done, args.command)
    return 0


def _told(daemon_set: Object) -> str:
    return f"{bundle.version_of(daemon_set) or '(no version)'} ({bundle.image_of(daemon_set)})"


def _refuse_overriding(client: Client, objects: list[Object]) -> None:
    """Raises Conflict with all that others have set otherwise, as people and their tools do: it would be lost."""
    found = []
    for obj in objects:
        if client.find(*place(obj)) is None:
            continue
        try:
            apply(client, obj, dry_run=True)
        except Conflict as err:
            found += [f"{title(obj)} {line}" for line in others(err)]
        except HyperdError:
            # As of somebody's webhook that takes no rehearsals: it is told when the object is written.
            continue
    if found:
        raise Conflict(
            "Others have set what is otherwise in this version; nothing was changed:\n"
            + "\n".join(f"- {sanitize.line(line)}" for line in found)
            + "\nTake that back, or say --force-conflicts to override it."
        )


def _place_of_settings(objects: list[Object]) -> int:
    return next(index for index, obj in enumerate(objects) if obj["kind"] == "Service")


def _note_settings(client: Client, objects: list[Object]) -> None:
    """Have daemons start anew where the settings are others than those they were started with."""
    found = next((obj for obj in objects if obj["kind"] == "ConfigMap"), None) or client.find(
        bundle.RESOURCES["ConfigMap"], bundle.daemons_namespace(), bundle.DAEMONS
    )
    if found is None:
        return
    digest = hashlib.sha256(json.dumps(found.get("data") or {}, sort_keys=True).encode()).hexdigest()[:16]
    metadata = bundle.daemons(objects)["spec"]["template"]["metadata"]
    metadata["annotations"] = {**(metadata.get("annotations") or {}), bundle.SETTINGS_DIGEST: digest}


def _apply_all(client: Client, objects: list[Object], *, force: bool) -> None:
    shown, counts = Progress("applying"), {"created": 0, "changed": 0, "unchanged": 0}
    established = False
    try:
        for obj in objects:
            if obj["kind"] not in _KEPT and not established:
                _await_kinds(client, objects, shown)
                established = True
            shown.show(obj["kind"])
            counts[apply(client, obj, force=force)] += 1
    finally:
        shown.done()
    emit([", ".join(f"{count} {what}" for what, count in counts.items() if count)])


def _await_kinds(client: Client, objects: list[Object], shown: Progress) -> None:
    resource, deadline = bundle.RESOURCES["CustomResourceDefinition"], time.monotonic() + _ESTABLISHED_SECONDS
    wanted = {obj["metadata"]["name"] for obj in objects if obj["kind"] == resource.kind}
    while True:
        there = {one["metadata"]["name"] for one in client.list(resource)["items"] if _is_established(one)}
        if wanted <= there:
            return
        shown.show(f"{len(wanted & there)} of {len(wanted)} kinds are served")
        if time.monotonic() > deadline:
            raise Timeout(
                f"The API server does not serve {', '.join(sorted(wanted - there)[:3])} yet; run this again."
            )
        time.sleep(_PAUSE_SECONDS)


def _is_established(definition: Object) -> bool:
    conditions = (definition.get("status") or {}).get("conditions") or ()
    return any(one.get("type") == "Established" and one.get("status") == "True" for one in conditions)


def _outdated(client: Client, objects: list[Object]) -> list[Object]:
    """What another version of hyperd brought by hv, and this one does not: known by its label."""
    wanted = {(obj["kind"], *place(obj)[1:]) for obj in objects}
    label = f"{bundle.PART_LABEL}={bundle.PART}"
    found = []
    for kind, resource in bundle.RESOURCES.items():
        if kind in (*_KEPT, "ConfigMap"):
            continue
        namespaces = (bundle.daemons_namespace(), *_PRUNED_IN) if resource.namespaced else (None,)
        for namespace in namespaces:
            for obj in client.list(resource, namespace, labels=label)["items"]:
                obj = {"apiVersion": resource.api_version, "kind": kind, **obj}
                if (kind, *place(obj)[1:]) not in wanted and made_by_hv(obj):
                    found.append(obj)
    return found


def _say_what_next(client: Client, done: rollout.Rollout, command: str) -> None:
    lines = [f"hyperd runs on {done.ready} of {done.wanted} nodes."]
    if done.down:
        lines.append(f"Not Ready, and not waited for: {', '.join(done.down)}.")
    nodes = client.list(bundle.NODES, labels=f"{KVM_ENABLED_LABEL}=true")["items"]
    if not nodes:
        lines.append(
            "No node has said yet that it has KVM: `kubectl get nodes -L "
            f"{KVM_ENABLED_LABEL}` shows it. Without KVM machines run where kubernetes.allow_emulation is set."
        )
    if command == "install":
        lines += ["Next:", "  kubectl get vmclass", "  hv create vm --help          a machine and its disk"]
    emit(sanitize.line(line) for line in lines)
