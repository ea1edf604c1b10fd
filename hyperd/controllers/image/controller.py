"""VirtualImage and ClusterVirtualImage: from a source into the registry.

One machine for both kinds; they differ in scope. An image is imported once: when it is Ready only its presence in
the registry is watched. Its manifest is removed by the registry's garbage collection, not by its deletion.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

from hyperd import clock
from hyperd.controllers import usage
from hyperd.controllers.context import Context
from hyperd.controllers.deletion_marks import DeletionMarks
from hyperd.controllers.image import transfer
from hyperd.controllers.jobs import Jobs
from hyperd.controllers.retries import Retries
from hyperd.controllers.unbuilt import name_unbuilt_fields
from hyperd.errors import HyperdError
from hyperd.resources.all import VIRTUAL_MACHINE
from hyperd.resources.schema.kind import AnyObject, Kind, Object
from hyperd.resources.values.conditions import set_condition
from hyperd.runtime.controller import Controller, Key, Mapper, Result
from hyperd.runtime.recorder import EventLevel
from hyperd.runtime.status import remove_finalizer, update_status
from registry.models import ImportedImage, ImportRequest, RegistryEndpoint

RETRY_SECONDS = 5.0
"""How soon the registry is asked again whether it has an image."""

_SETTLED = ("Ready", "Failed", "ImageLost")


def repository_of(endpoint: RegistryEndpoint, kind: Kind, namespace: str, name: str) -> str:
    """Where an object's image is kept: ``vi/<namespace>/<name>``, ``cvi/<name>``, ``vd/<namespace>/<name>``.

    Longer than a registry takes, it is shortened.
    """
    short = kind.short_names[0]
    return endpoint.repository(f"{short}/{namespace}/{name}" if kind.namespaced else f"{short}/{name}")


def reference_of(context: Context, kind: Kind, image: AnyObject) -> str:
    """The ``registryURL`` of a Ready image, by what it is and not by what its status says: that may be forged.

    A status that names another registry is told as it is. This one refuses it by that name.
    """
    meta = image["metadata"]
    told = str(((image.get("status") or {}).get("target") or {}).get("registryURL") or "")
    endpoint = context.images.endpoint
    if told and not endpoint.has(told):
        return told
    repository = repository_of(endpoint, kind, meta.get("namespace", ""), meta["name"])
    return endpoint.reference(repository, meta["uid"])


class ImageController(Controller):
    """Imports images of one kind."""

    cluster_wide = True

    def __init__(self, context: Context, kind: Kind) -> None:
        super().__init__()
        self.kind = kind
        self.name = kind.singular
        self._context = context
        self._images = context.informer(kind)
        self._machines = context.informer(VIRTUAL_MACHINE)
        self._jobs: Jobs[ImportedImage] = Jobs()
        self._retries = Retries()
        self._checked: dict[str, float] = {}
        self._marks = DeletionMarks(context.images)

    def watches(self) -> Mapping[Kind, Mapper]:
        return {VIRTUAL_MACHINE: usage.device_keys(self.kind)}

    async def close(self) -> None:
        """Stop imports; they begin anew at the next start."""
        await self._jobs.close()

    async def stand_down(self) -> None:
        await self._jobs.close()

    async def reconcile(self, key: Key) -> Result | None:
        before = self._images.get(*key)
        if before is None:
            return None
        after = copy.deepcopy(before)
        status = after.setdefault("status", {})
        status.setdefault("cdrom", False)
        if before["metadata"].get("deletionTimestamp"):
            return await self._delete(before, after)
        name_unbuilt_fields(self.kind, after)
        settled = status.get("phase") in _SETTLED
        if settled and status.get("observedGeneration") == before["metadata"]["generation"]:
            result = await self._watch_over(after)
        else:
            result = await self._provision(after)
        self._show_usage(after)
        await update_status(self._context.store, self.kind, before, after)
        return result

    async def _provision(self, image: Object) -> Result | None:
        meta, status = image["metadata"], image["status"]
        source = image["spec"]["dataSource"]
        job = self._jobs.get(meta["uid"])
        if job is not None and job.generation != meta["generation"]:
            await self._jobs.cancel(meta["uid"])
            self._event(
                image, "Normal", f"{self.kind.kind}SpecHasBeenChanged", "The spec changed: importing anew."
            )
            job = None
        if status.get("observedGeneration") != meta["generation"]:
            self._retries.forget(image)
        status["observedGeneration"] = meta["generation"]
        if source["type"] != "HTTP":
            return self._unsupported(image)
        set_condition(image, "DatasourceReady", True, reason="DatasourceReady")
        if job is None:
            left = self._retries.left(image)
            if left:
                return Result(self._retries.look_again(left))
            job = self._jobs.start(
                meta["uid"],
                meta["generation"],
                lambda report: self._context.images.import_image(self._request(image), report),
                notify=lambda: self.enqueue(Key(meta.get("namespace", ""), meta["name"])),
            )
        if not job.done:
            status["phase"] = "Provisioning"
            transfer.show_progress(status, job.progress)
            transfer.show_waiting(image, job.progress)
            return None
        try:
            imported = job.outcome()
        except HyperdError as err:
            self._jobs.forget(meta["uid"])
            return self._not_imported(image, err)
        self._jobs.forget(meta["uid"])
        self._succeeded(image, imported)
        return Result(self._context.settings.registry.presence_check_seconds)

    def _request(self, image: Object) -> ImportRequest:
        meta, source = image["metadata"], image["spec"]["dataSource"]["http"]
        return ImportRequest(
            uid=meta["uid"],
            source_url=source["url"],
            repository=repository_of(
                self._context.images.endpoint, self.kind, meta.get("namespace", ""), meta["name"]
            ),
            tag=meta["uid"],
            checksums=source.get("checksum") or {},
            ca_bundle=source.get("caBundle", ""),
            namespace=meta.get("namespace", ""),
        )

    def _succeeded(self, image: Object, imported: ImportedImage) -> None:
        status = image["status"]
        status["phase"] = "Ready"
        status["format"] = str(imported.format)
        status["cdrom"] = imported.cdrom
        status["size"] = transfer.sizes(imported.stored_bytes, imported.unpacked_bytes)
        status["sourceUID"] = image["metadata"]["uid"]
        status["target"] = {"registryURL": imported.reference}
        transfer.finish_progress(status, imported.average_speed)
        self._retries.forget(image)
        set_condition(image, "Ready", True, reason="Ready", message=imported.warning)
        self._event(image, "Normal", "ImageReady", "The image is in the registry.")
        if imported.warning:
            self._event(image, "Warning", transfer.DOUBTFUL, imported.warning)

    def _not_imported(self, image: Object, err: HyperdError) -> Result | None:
        status = image["status"]
        reason = getattr(err, "key", "") or "ProvisioningFailed"
        set_condition(image, "Ready", False, reason=reason, message=err.message)
        if transfer.is_final(err):
            status["phase"] = "Failed"
            status.pop("progress", None)
            self._retries.forget(image)
            self._event(image, "Warning", "ProvisioningFailed", err.message)
            return None
        status["phase"] = "Provisioning" if status.get("phase") == "Provisioning" else "Pending"
        return Result(self._retries.look_again(self._retries.failed(image, err)))

    def _unsupported(self, image: Object) -> Result | None:
        type_ = image["spec"]["dataSource"]["type"]
        message = f"Data source {type_} is not built yet in this version; use HTTP."
        image["status"]["phase"] = "Pending"
        set_condition(image, "DatasourceReady", False, reason="ImageNotReady", message=message)
        set_condition(image, "Ready", False, reason="DatasourceNotReady", message=message)
        return None

    async def _watch_over(self, image: Object) -> Result | None:
        """An image can be lost from the registry, and come back."""
        status = image["status"]
        if status["phase"] == "Failed":
            return None
        reference = reference_of(self._context, self.kind, image)
        uid, now = image["metadata"]["uid"], clock.elapsed()
        period = self._context.settings.registry.presence_check_seconds
        if self._context.ownership.binds and not self._context.images.endpoint.has(reference):
            # In the embedded registry of a node that led before; its disks there are well.
            return Result(period)
        due = self._checked.get(uid, -period) + period
        if now < due:
            return Result(due - now)
        try:
            present = await self._context.images.exists(reference)
        except HyperdError:
            # Nobody can tell: the image keeps the phase it had.
            return Result(RETRY_SECONDS)
        self._checked[uid] = now
        status["target"] = {**(status.get("target") or {}), "registryURL": reference}
        if not present and status["phase"] == "Ready":
            message = f"The registry no longer has {reference}; delete and create the image again."
            status["phase"] = "ImageLost"
            set_condition(image, "Ready", False, reason="ImageLost", message=message)
        elif present and status["phase"] == "ImageLost":
            status["phase"] = "Ready"
            set_condition(image, "Ready", True, reason="Ready")
            self._event(image, "Normal", f"{self.kind.kind}LostRecovered", "The image is in the registry again.")
        return Result(period)

    def _show_usage(self, image: Object) -> bool:
        meta = image["metadata"]
        users = usage.machines_using(self._machines, self.kind, meta.get("namespace", ""), meta["name"])
        if users:
            set_condition(image, "InUse", True, reason="AttachedToVirtualMachine")
        else:
            set_condition(image, "InUse", False, reason="NotInUse")
        if not self.kind.namespaced:
            namespaces = sorted({user.namespace for user in users})
            if namespaces:
                image["status"]["usedInNamespaces"] = namespaces
            else:
                image["status"].pop("usedInNamespaces", None)
        return bool(users)

    async def _delete(self, before: Object, image: Object) -> Result | None:
        await self._jobs.cancel(image["metadata"]["uid"])
        image["status"]["phase"] = "Terminating"
        if self._show_usage(image):
            message = "A virtual machine uses the image; remove it from the machine's blockDeviceRefs first."
            set_condition(image, "Terminating", True, reason="CleanupPending", message=message)
            await update_status(self._context.store, self.kind, before, image)
            return None
        self._checked.pop(image["metadata"]["uid"], None)
        self._retries.forget(image)
        meta = image["metadata"]
        repository = repository_of(
            self._context.images.endpoint, self.kind, meta.get("namespace", ""), meta["name"]
        )
        if not await self._marks.deleted(repository, meta["uid"]):
            return Result(RETRY_SECONDS)
        await remove_finalizer(self._context.store, self.kind, before)
        return None

    def _event(self, image: Object, level: EventLevel, reason: str, message: str) -> None:
        self._context.events.event(image, level, reason, message)
