"""Copies of images on their way to the node's cache: one an image, however many machines wait for it."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from functools import partial

from hyperd.controllers.jobs import Jobs
from hyperd.controllers.retries import Retries
from hyperd.errors import HyperdError, ServiceUnavailable, TooManyRequests
from hyperd.resources.schema.kind import Object
from registry.interface import Images, NotBegun
from registry.models import CachedImage


@dataclass(frozen=True)
class Missing:
    """There is no copy yet, and why: the rest of a sentence about the image."""

    why: str


@dataclass
class _Failed:
    """The last try of one image; ``waits`` is what ``Retries`` keeps of it, here in memory alone."""

    waits: Object
    message: str


class Copies:
    """One node's copies, by the images' uids. What failed is tried again later each time."""

    def __init__(
        self, images: Images, uids: Callable[[], Container[str]], *, retries: Retries | None = None
    ) -> None:
        """``uids`` tells those of the images that there are."""
        self._images = images
        self._uids = uids
        self._jobs: Jobs[CachedImage] = Jobs()
        self._retries = retries or Retries()
        self._failed: dict[str, _Failed] = {}

    async def close(self) -> None:
        """Stop what is under way."""
        await self._jobs.close()

    def get(self, uid: str, reference: str, *, machine: str, wake: Callable[[], None]) -> CachedImage | Missing:
        """The copy, or what it waits for; begun when it is time. ``wake`` is called when it moves or ends."""
        job = self._jobs.get(uid)
        if job is None:
            failed = self._failed.get(uid)
            if failed is not None and self._retries.left(failed.waits):
                return Missing(failed.message)
            self._keep_only(self._uids())
            job = self._jobs.start(uid, 0, partial(self._images.copy, reference), notify=wake)
        elif not job.done:
            job.tell(machine, wake)
        if not job.done:
            percent = 100 * ((job.progress.fraction if job.progress else 0) or 0)
            return Missing(f"is being copied to the node ({percent:.0f}%).")
        try:
            cached = job.outcome()
        except HyperdError as err:
            self._jobs.forget(uid)
            return self._note(uid, err)
        if (failed := self._failed.pop(uid, None)) is not None:
            self._retries.forget(failed.waits)
        return cached

    def forget(self, uid: str) -> None:
        """The copy is gone from the cache: the next who asks begins another."""
        self._jobs.forget(uid)

    def _keep_only(self, uids: Container[str]) -> None:
        """Drop what ended of all other images: they are gone, and nobody asks again."""
        self._jobs.forget_others(uids)
        for uid in [uid for uid in self._failed if uid not in uids]:
            self._retries.forget(self._failed.pop(uid).waits)

    def _note(self, uid: str, err: HyperdError) -> Missing:
        message = f"cannot be copied to the node: {err.message}"
        former = self._failed.get(uid)
        waits: Object = former.waits if former else {"metadata": {"uid": uid}, "status": {}}
        if isinstance(err, (ServiceUnavailable, TooManyRequests)):
            # The registry is ours, and will be back soon.
            err = NotBegun(err.message, delay=err.retry_after_seconds)
        self._retries.failed(waits, err)
        self._failed[uid] = _Failed(waits, message)
        return Missing(message)
