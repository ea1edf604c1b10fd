"""What this node has seen of the store: whose it is, and how far it had come.

A store that is behind that, or another one, was restored from a backup: what it does not know may be a user's all
the same. Then nothing is collected until an administrator accepts the store as it is. A restore that raised the
revision beyond what was seen shows in a cluster by the word on this node's Lease, which is an earlier one again;
before that is read nothing goes either, as nothing does for being absent.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable
from pathlib import Path

import orjson

from hyperd import durable
from hyperd.errors import PermanentError
from hyperd.imagefile import files
from hyperd.resources.schema.kind import AnyObject
from hyperd.resources.values.meta import now_rfc3339

_log = logging.getLogger(__name__)
_LIMIT_BYTES = 4096


class Witness:
    """One small file in the node's state folder, written durably when what it says changes."""

    def __init__(self, path: Path, store_id: Callable[[], str]) -> None:
        """``store_id`` is known once the home is prepared."""
        self._path = path
        self._store_id = store_id
        self._store = ""
        self._version = 0
        self._since = ""
        self._words: tuple[str, ...] = ()
        """What the node's Lease may carry: the word last sent, and the one before, if that did not come."""
        self._writing = asyncio.Lock()
        """The sweep, the Lease and an administrator note things at once, in one file."""
        self.why = ""
        """A sentence: why everything that collects waits; empty when it need not."""

    @property
    def waits(self) -> bool:
        """Whether an administrator has to accept the store first."""
        return bool(self.why)

    @property
    def since(self) -> str:
        """When that began, RFC 3339."""
        return self._since

    async def begin(self, *, empty: bool, marked: str) -> None:
        """At start. Where nothing was noted yet, the store is taken for the node's own if the node is ``empty``,
        or ``marked`` with the store's id."""
        try:
            body = await asyncio.to_thread(self._read)
            self._store, self._version = str(body["store"]), int(str(body["resourceVersion"]))
            self.why, self._since = str(body["why"]), str(body["since"])
            self._words = tuple(map(str, body.get("words", ())))
        except FileNotFoundError:
            self._store = self._store_id()
            if not empty and marked != self._store:
                self._wait("What is on this node was made under another store, or nobody knows under which.")
            await self._note()
        except (OSError, ValueError, KeyError, TypeError) as err:
            self._store = self._store_id()
            self._wait(f"{self._path} cannot be read ({err}): nobody knows what this node has seen of the store.")
        self._judge(None)
        if self.why:
            _log.warning("%s", self.sentence())

    async def look(self, resource_version: str) -> None:
        """The store is at ``resource_version`` now, by a list that was not served from a cache."""
        version = int(resource_version) if resource_version.isdecimal() else None
        waited = self.waits
        self._judge(version)
        if self.waits and not waited:
            _log.warning("%s", self.sentence())
        if self.waits != waited or (not self.waits and version is not None and version > self._version):
            if not self.waits and version is not None:
                self._version = version
            await self._note()

    async def renew(self, word: str) -> str:
        """The node's Lease carries ``word``, or none yet; what it is to carry now, which is noted here first.

        Where that cannot be noted it goes on carrying the same.
        """
        if word and self._words and word not in self._words and not self.why:
            self._wait("The store has an earlier Lease of this node than the node has seen: it was restored.")
            _log.warning("%s", self.sentence())
        next_ = uuid.uuid4().hex
        self._words = (next_, word)
        return next_ if await self._note() else word

    async def accept(self, resource_version: str) -> None:
        """An administrator says that the store is right, with the word that the Lease has in it.

        Raises PermanentError if it cannot note that.
        """
        self._store = self._store_id()
        self._version = int(resource_version) if resource_version.isdecimal() else 0
        self.why = self._since = ""
        self._words = ()
        try:
            await self._write()
        except OSError as err:
            self._wait(f"{self._path} cannot be written.")
            raise PermanentError(f"{self._path} cannot be written: {err.strerror}.") from err

    def sentence(self) -> str:
        """For people; empty when nothing waits."""
        if not self.why:
            return ""
        return (
            f"{self.why} Nothing is collected here since {self._since}: put back what is missing, "
            "or say `hv gc accept`."
        )

    def _judge(self, version: int | None) -> None:
        if self.why:
            return
        if self._store != self._store_id():
            self._wait(f"The store is another one ({self._store_id()}) than this node has seen ({self._store}).")
        elif version is not None and version < self._version:
            self._wait(
                f"The store is at {version}, behind {self._version}, which this node has seen: it was restored."
            )

    def _wait(self, why: str) -> None:
        self.why, self._since = why, now_rfc3339()

    def _read(self) -> AnyObject:
        with files.open_regular(self._path) as file:
            body = orjson.loads(file.read(_LIMIT_BYTES))
        if not isinstance(body, dict):
            raise ValueError("it is no object")
        return body

    async def _note(self) -> bool:
        """Whether it was noted. A node without space for it goes on: what it saw earlier is still noted."""
        try:
            await self._write()
        except OSError as err:
            _log.warning("%s cannot be written: %s", self._path, err.strerror)
            return False
        return True

    async def _write(self) -> None:
        async with self._writing:
            body = {
                "store": self._store,
                "resourceVersion": self._version,
                "words": self._words,
                "why": self.why,
                "since": self._since,
            }
            await asyncio.to_thread(self._publish, orjson.dumps(body))

    def _publish(self, body: bytes) -> None:
        durable.write(self._path, body, made=files.temporary(self._path))
