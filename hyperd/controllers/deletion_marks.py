"""Says in the registry that an image's owner was deleted, so that any later collection removes it."""

from __future__ import annotations

import logging

from hyperd.errors import HyperdError
from registry.interface import Images

TRIES = 12
_log = logging.getLogger(__name__)


class DeletionMarks:
    """Of one controller. A registry that stays away keeps no object for ever."""

    def __init__(self, images: Images) -> None:
        self._images = images
        self._tried: dict[str, int] = {}

    async def deleted(self, repository: str, uid: str) -> bool:
        """Mark the image of ``uid``; False when that has to be tried again.

        After ``TRIES`` the image stays unmarked: then it is kept as one without an owner, and named.
        """
        try:
            await self._images.mark_deleted(repository, uid)
        except HyperdError as err:
            self._tried[uid] = self._tried.get(uid, 0) + 1
            if self._tried[uid] < TRIES:
                return False
            _log.warning("Image %s of a deleted object cannot be marked, and is kept: %s", repository, err.message)
        self._tried.pop(uid, None)
        return True
