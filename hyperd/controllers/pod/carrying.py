"""What a Pod that is there follows its machine in.

Labels and annotations: what is new there, and what the machine has no more. And that it outlasts its node's
silence.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import orjson

from hyperd.controllers.pod import manifest, reading
from hyperd.controllers.pod.placing import patient
from hyperd.errors import Conflict, NotFound
from hyperd.resources.all import POD
from hyperd.resources.schema.kind import Object
from hyperd.resources.values import meta, names
from hyperd.store.interface import PatchType, Store

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_class import VirtualMachineClass


async def carry(store: Store, machine: VirtualMachine, pod: Object) -> Object:
    """The Pod, once its labels and annotations follow the machine's."""
    labels, annotations = manifest.carried(machine)
    known = meta.annotations(pod)
    try:
        had = orjson.loads(known.get(names.POD_CARRIED_ANNOTATION, "{}"))
        gone = {part: dict.fromkeys(had.get(part) or ()) for part in ("labels", "annotations")}
    except (orjson.JSONDecodeError, AttributeError, TypeError):
        gone = {"labels": {}, "annotations": {}}
    annotations |= {names.POD_CARRIED_ANNOTATION: manifest.encode_carried(labels, annotations)}
    wanted = {
        "labels": {**gone["labels"], **labels, **manifest.own_labels(machine)},
        "annotations": {**gone["annotations"], **annotations},
    }
    changed = {
        part: {key: value for key, value in wanted[part].items() if has.get(key) != value}
        for part, has in (("labels", meta.labels(pod)), ("annotations", known))
    }
    if not any(changed.values()) or reading.is_finished(pod):
        return pod
    where, version = pod["metadata"], pod["metadata"]["resourceVersion"]
    patch = {"metadata": {"resourceVersion": version, **{part: of for part, of in changed.items() if of}}}
    try:
        item = await store.patch(POD, where["namespace"], where["name"], PatchType.MERGE, patch)
    except (Conflict, NotFound):
        return pod  # its event comes here
    found: Object = item.object()
    return found


async def outlast(store: Store, machine: VirtualMachine, class_: VirtualMachineClass, pod: Object) -> None:
    """Have the Pod stay on a node that is silent, as those that are made now do: its guest may run there."""
    tolerations = patient(pod, machine["spec"], class_)
    if tolerations is None or reading.is_ending(pod) or reading.is_finished(pod):
        return
    where = pod["metadata"]
    patch = {
        "metadata": {"resourceVersion": where["resourceVersion"]},
        "spec": {"tolerations": tolerations},
    }
    with suppress(Conflict, NotFound):  # its event comes here
        await store.patch(POD, where["namespace"], where["name"], PatchType.MERGE, patch)
