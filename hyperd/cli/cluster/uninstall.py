"""``hv uninstall``: first what hyperd made, by its own hand, then hyperd; in an order in which nothing is left.

Each step looks at what is there, so that whoever is interrupted runs it again.
"""

from __future__ import annotations

import argparse
import sys

from hyperd.cli.asking import confirmed
from hyperd.cli.cluster import bundle, door, ours, preflight, rollout
from hyperd.cli.cluster.applying import made_by_hv, place, remove
from hyperd.cli.cluster.home import cluster_of
from hyperd.cli.cluster.leaving import have_leave, is_leaving, until_gone
from hyperd.cli.options import seconds
from hyperd.cli.printing import emit
from hyperd.client import paths, sanitize
from hyperd.client.sync import Client
from hyperd.errors import BadRequest, Conflict, NotFound, ServiceUnavailable, Timeout
from hyperd.resources.values.names import GROUP, KVM_ENABLED_LABEL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperd.client.resource import Resource
    from hyperd.resources.schema.kind import Object

EXAMPLES = """\
  hv uninstall                                   where there are no machines, disks or images
  hv uninstall --delete-machines --context lab   with all of them, and everything on their disks
"""
_FOLDERS = "/var/lib/hyperd and /var/log/hyperd"
_PROVISIONERS = "hyperd.local/"
_VERBS = ("get", "list", "delete")
_DOOR_VERBS = ("create", "patch")
_FORCED_SECONDS = 120.0
_WEBHOOKS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
_FIRST = (*_WEBHOOKS, "CustomResourceDefinition", "DaemonSet")
"""Removed before the others, in this order."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    help_ = "delete all machines, disks, snapshots and images too, with everything on them"
    parser.add_argument("--delete-machines", action="store_true", help=help_)
    help_ = "where no hyperd runs any more: take its finalizers off and go on, whatever then stays on nodes"
    parser.add_argument("--force", action="store_true", help=help_)
    parser.add_argument(
        "-t", "--timeout", type=seconds, default=900.0, help="longest wait for a step (default 15m)"
    )


def run(args: argparse.Namespace) -> int:
    """Exit code 1 where something is left on a node."""
    if args.delete_machines and not (args.context or args.kubeconfig):
        raise BadRequest(
            "Say whose machines are to be deleted: --delete-machines needs --context or --kubeconfig."
        )
    client = cluster_of(args)
    objects = [*bundle.load("hyperd"), *door.objects()]
    preflight.require_rights(client, objects, _VERBS)
    preflight.require_rights(client, door.objects(), _DOOR_VERBS)
    if why := preflight.foreign(client):
        raise BadRequest("\n".join(why))
    found = ours.objects(client, ours.kinds(client))
    what = "; ".join(ours.counted(found)) or "no machines, disks or images"
    emit([sanitize.line(f"{client.home.name} at {client.home.where}: {what}")])
    _refuse_what_is_kept(found, args)
    daemons = client.find(bundle.RESOURCES["DaemonSet"], bundle.daemons_namespace(), bundle.DAEMONS)
    if daemons is None and not found and not _any_left(client, objects):
        emit(["There is no hyperd in this cluster."])
        return 0
    serving = (
        daemons is not None and not is_leaving(daemons) and bool((daemons.get("status") or {}).get("numberReady"))
    )
    if found and not serving and not args.force:
        raise ServiceUnavailable(_dead(client, daemons, found))
    if not args.yes and confirmed(_question(client, found)) is not True:
        return 1
    door.shut(client)
    found = _found_again(client, found, args)
    stays = _delete_all(client, objects, found, args, serving=serving)
    stays += _remove_hyperd(client, objects, args)
    emit(["Nothing of hyperd is left in the cluster."])
    for line in stays:
        print(f"hv: {sanitize.line(line)}", file=sys.stderr)
    emit([f"On nodes {_FOLDERS} stay, with logs, cached images and what of disks was quarantined."])
    return 1 if stays else 0


def _found_again(
    client: Client, asked: list[tuple[Resource, Object]], args: argparse.Namespace
) -> list[tuple[Resource, Object]]:
    """All objects there are now. Raises Conflict for what of a user's has come since it was asked about.

    Nothing more comes: the door is shut.
    """
    found = ours.objects(client, ours.kinds(client))
    known = {ours.uid(obj) for _, obj in asked} if args.delete_machines else set()
    new = [(resource, obj) for resource, obj in ours.precious(found) if ours.uid(obj) not in known]
    if new:
        door.open_again(client)
        raise Conflict(f"Nothing was removed: somebody has made this meanwhile: {'; '.join(ours.counted(new))}.")
    return found


def _refuse_what_is_kept(found: list[tuple[Resource, Object]], args: argparse.Namespace) -> None:
    """Raises Conflict while users have something, unless it is to go too."""
    counted = ours.counted(found)
    if counted and not args.delete_machines:
        raise Conflict(
            "There are machines, disks or images, which would be lost:\n"
            + "\n".join(f"- {line}" for line in counted)
            + "\nBack them up or delete them, or say --delete-machines."
        )


def _delete_all(
    client: Client,
    objects: list[Object],
    found: list[tuple[Resource, Object]],
    args: argparse.Namespace,
    *,
    serving: bool,
) -> list[str]:
    """All objects of hyperd's kinds; what stays on nodes, a sentence each. Raises Timeout where they do not go."""
    if not found:
        return []
    seen = {ours.uid(obj) for _, obj in found}
    if serving:
        try:
            limit = min(args.timeout, _FORCED_SECONDS) if args.force else args.timeout
            return ours.delete_all(client, limit, seen, force=False)
        except Timeout as err:
            if not args.force:
                raise Timeout(
                    f"{err.message}\nRun this again, or with --force where their node is gone."
                ) from None
            found = ours.objects(client, ours.kinds(client))
    else:
        _open_the_way(client, objects)
    return _guests(found) + ours.delete_all(client, args.timeout, seen, force=True)


def _question(client: Client, found: list[tuple[Resource, Object]]) -> str:
    counted = ours.counted(found)
    lost = f", and with it for ever {'; '.join(counted)}" if counted else ""
    return f"hyperd goes from {client.home.where}{lost}: sure?"


def _dead(client: Client, daemons: Object | None, found: list[tuple[Resource, Object]]) -> str:
    why = ""
    if daemons is not None and not is_leaving(daemons):
        why = "".join(f"\n  {reason}" for reason in rollout.Rollout(client).reasons())
    return (
        f"No hyperd is Ready, so nobody ends machines and empties disks: {len(found)} objects would wait for "
        f"ever.{why}\nMend it (`hv install` puts back what is missing) and run this again. Where that cannot be, "
        "--force takes its finalizers off; guests, disks and network devices then stay on the nodes."
    )


def _guests(found: list[tuple[Resource, Object]]) -> list[str]:
    """What nobody ends, on which nodes."""
    nodes: dict[str, list[str]] = {}
    for resource, obj in found:
        node = (obj.get("status") or {}).get("nodeName")
        if node and resource.plural == "virtualmachines":
            name = f"{obj['metadata'].get('namespace')}/{obj['metadata']['name']}"
            nodes.setdefault(str(node), []).append(name)
    return [
        f"Node {node}: guests of {', '.join(names)} may run on (virsh list), with disks in /var/lib/hyperd."
        for node, names in sorted(nodes.items())
    ]


def _open_the_way(client: Client, objects: list[Object]) -> None:
    """Without hyperd nobody answers webhooks and conversions, which every write would wait for."""
    for obj in objects:
        if obj["kind"] in _WEBHOOKS:
            remove(client, obj)
    resource = bundle.RESOURCES["CustomResourceDefinition"]
    for obj in objects:
        if obj["kind"] == resource.kind and ((obj["spec"].get("conversion") or {}).get("strategy") == "Webhook"):
            patch = {"spec": {"conversion": {"strategy": "None", "webhook": None}}}
            try:
                client.patch(resource, None, obj["metadata"]["name"], patch)
            except NotFound:
                continue


def _remove_hyperd(client: Client, objects: list[Object], args: argparse.Namespace) -> list[str]:
    """All but users' objects; what stays on nodes, a sentence each."""
    timeout = args.timeout
    if lost := ours.precious(ours.objects(client, ours.kinds(client))):
        raise Conflict(f"Objects are left, which would go with their kinds: {'; '.join(ours.counted(lost))}.")
    for kind in (*_WEBHOOKS, "CustomResourceDefinition"):
        for obj in _of(client, kind, objects):
            remove(client, obj)
    for obj in _of(client, "CustomResourceDefinition", objects):
        until_gone(client, *place(obj), timeout)
    stays = _leave_nodes(client, min(timeout, _FORCED_SECONDS) if args.force else timeout, force=args.force)
    namespace = next(obj for obj in objects if obj["kind"] == "Namespace")
    for kind in reversed(bundle.RESOURCES):
        if kind not in (*_FIRST, "Namespace"):
            for obj in _of(client, kind, objects):
                remove(client, obj)
    for class_ in client.list(bundle.CLASSES)["items"]:
        if str(class_.get("provisioner") or "").startswith(_PROVISIONERS):
            client.delete(bundle.CLASSES, None, class_["metadata"]["name"])
    _unlabel_nodes(client)
    if remove(client, namespace):
        until_gone(client, *place(namespace), timeout)
    return stays


def _leave_nodes(client: Client, timeout: float, *, force: bool) -> list[str]:
    resource, namespace = bundle.RESOURCES["DaemonSet"], bundle.daemons_namespace()
    live = client.find(resource, namespace, bundle.DAEMONS)
    if live is None:
        return []
    live = {"apiVersion": resource.api_version, "kind": resource.kind, **live}
    have_leave(client, live)
    try:
        down = rollout.wait(client, "leaving the nodes", timeout, anywhere=False).down
        stays = [f"Node {node} is not Ready: run `hyperd leave` there, or boot it anew." for node in down]
    except Timeout as err:
        if not force:
            raise Timeout(
                f"{err.message}\nIts networks stay there until it could leave. Mend that and run this again, or "
                "say --force to go on without."
            ) from None
        seen = rollout.Rollout(client)
        down = seen.down
        stays = [f"Node {why.rstrip('.')}. Run `hyperd leave` there, or boot it anew." for why in seen.reasons()]
    pods = rollout.Rollout(client).pods
    remove(client, live)
    until_gone(client, *place(live), timeout)
    for pod in pods:
        metadata = pod["metadata"]
        if (pod.get("spec") or {}).get("nodeName") in down:
            # Its kubelet would say that it has ended; it does end it, should it come back.
            _forget(client, metadata["namespace"], metadata["name"])
        until_gone(client, bundle.PODS, metadata["namespace"], metadata["name"], timeout)
    return stays


def _forget(client: Client, namespace: str, name: str) -> None:
    try:
        client.call("DELETE", paths.single(bundle.PODS, namespace, name), body={"gracePeriodSeconds": 0})
    except NotFound:
        return


def _unlabel_nodes(client: Client) -> None:
    for node in client.list(bundle.NODES)["items"]:
        labels = node["metadata"].get("labels") or {}
        given = {key: None for key in labels if _is_ours(key)}
        if given:
            client.patch(bundle.NODES, None, node["metadata"]["name"], {"metadata": {"labels": given}})


def _is_ours(label: str) -> bool:
    """What a daemon says of its node, whatever that is."""
    return label == KVM_ENABLED_LABEL or label.partition("/")[0].endswith(f".node.{GROUP}")


def _of(client: Client, kind: str, objects: list[Object]) -> list[Object]:
    """What there is of a kind: of this version by name, and of others by their label."""
    resource = bundle.RESOURCES[kind]
    named = {place(obj)[1:]: obj for obj in objects if obj["kind"] == kind}
    namespaces = (bundle.daemons_namespace(), "kube-system") if resource.namespaced else (None,)
    label = f"{bundle.PART_LABEL}={bundle.PART}"
    for namespace in namespaces:
        for obj in client.list(resource, namespace, labels=label)["items"]:
            obj = {"apiVersion": resource.api_version, "kind": kind, **obj}
            if made_by_hv(obj):
                named.setdefault(place(obj)[1:], obj)
    return list(named.values())


def _any_left(client: Client, objects: list[Object]) -> bool:
    return any(client.find(*place(obj)) is not None for obj in objects)
