"""What a cluster's API server asks of hyperd when a Pod is to be evicted.

Unlike the other webhooks this one does something: it marks the Pod, so that its guest is moved. So it is asked
under an address that strangers do not know: hyperd writes it into the registration, which administrators alone may
read, and all daemons derive it from the key that they share. A stranger is told nothing, not even that it exists.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Sequence
from typing import Final

from hyperd.admission import evictions
from hyperd.admission.question import Asked
from hyperd.admission.webhook import Review, allow, deny
from hyperd.resources.all import POD
from hyperd.resources.core.disruption import EVICTION
from hyperd.resources.schema.kind import AnyObject, Object
from hyperd.resources.values import meta
from hyperd.resources.values.names import EVICTION_PATH
from hyperd.runtime import evicted
from hyperd.store.interface import Store

_LOG = logging.getLogger(__name__)
_PURPOSE: Final = b"hyperd evictions"


class Evictions:
    """The handler, and the address that it answers under; none before ``use``."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.path = ""
        self._others: tuple[str, ...] = ()

    def use(self, key: bytes, others: Sequence[bytes] = ()) -> None:
        """Answer under the address that follows from ``key``, which all daemons have and nobody else.

        Under those of ``others`` too: another daemon may have told the API server one of them.
        """
        self.path, self._others = _address(key), tuple(map(_address, others))

    def owns(self, path: str) -> bool:
        """Whether it is answered here."""
        asked = path.encode("utf-8", "surrogatepass")
        found = [hmac.compare_digest(asked, one.encode()) for one in (self.path, *self._others)]
        return bool(self.path) and any(found)

    async def judge(self, review: AnyObject) -> Review:
        """The verdict on an AdmissionReview. Raises BadRequest where it is none, and what the store raises."""
        asked = Asked.of(review)
        if asked.resource != (POD.group, POD.plural) or asked.subresource != EVICTION:
            return allow(asked)
        ruling = await evictions.judge(self._store, asked.namespace, asked.name)
        if ruling.marks is not None and not _is_rehearsal(asked):
            await self._mark(ruling.marks, asked.user.name)
        return allow(asked) if ruling.refusal is None else deny(asked, ruling.refusal)

    async def _mark(self, pod: Object, by: str) -> None:
        if await evicted.mark(self._store, pod):
            _LOG.info("The guest of Pod %s/%s is to go to another node: %s asks.", *meta.key(pod), by)


def _address(key: bytes) -> str:
    return f"{EVICTION_PATH}/{hmac.digest(key, _PURPOSE, hashlib.sha256).hex()}"


def _is_rehearsal(asked: Asked) -> bool:
    """``kubectl drain --dry-run=server`` says so in the eviction that it posts."""
    options = asked.object.get("deleteOptions")
    return asked.dry_run or (isinstance(options, dict) and bool(options.get("dryRun")))
