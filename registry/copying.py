"""An image of the registry that becomes another one's as well: its layer is kept once."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace

from hyperd.errors import NotFound, TemporaryError
from hyperd.imagefile.detect import FAILED
from registry.client import RegistryClient
from registry.meter import Meter
from registry.models import CopyRequest
from registry.push import Stored, Target, hashed, stored
from registry.slots import Slots

_LATER_SECONDS = 30.0


class Copying:
    """One copy. Use once."""

    def __init__(
        self, client: RegistryClient, request: CopyRequest, *, meter: Meter, slots: Slots, reserve: int
    ) -> None:
        self._client = client
        self._request = request
        self._meter = meter
        self._slots = slots
        self._target = Target(client, request.repository, request.tag, meter=meter, reserve=reserve)

    async def run(self) -> Stored:
        """Do it. Raises TemporaryError where the image is not there or is damaged, PermanentError for no image."""
        repository, found = await self._source()
        if not await self._client.mount(self._request.repository, found.layer.digest, source=repository):
            # A registry that does not know mounts, or may not tell: it is sent its own bytes.
            async with self._slots.taken(self._request.namespace, self._client.endpoint.name):
                await self._send(repository, found)
        return await self._target.tag(replace(found.disk, source=self._request.fingerprint), found.layer)

    async def _source(self) -> tuple[str, Stored]:
        reference, endpoint = self._request.reference, self._client.endpoint
        try:
            repository, tag = endpoint.parse(reference)
        except ValueError as err:
            raise TemporaryError(
                f"{reference} is in another registry than this node's, {endpoint.name}; set registry.url to one "
                "that all nodes reach, and make the image again.",
                key=FAILED,
                delay=_LATER_SECONDS,
            ) from err
        try:
            return repository, await stored(self._client, repository, tag)
        except NotFound as err:
            raise TemporaryError(f"The registry no longer has {reference}.", key=FAILED) from err

    async def _send(self, repository: str, found: Stored) -> None:
        layer, hash_ = found.layer, hashlib.sha256()
        await self._target.guard_room(layer.size)
        self._meter.expect(2 * layer.size)
        async with (
            self._client.open_blob(repository, layer.digest) as blocks,
            self._client.upload(self._request.repository) as upload,
        ):
            async for block in hashed(self._counted(blocks), hash_):
                await upload.send(block)
                self._meter.send(len(block))
            if f"sha256:{hash_.hexdigest()}" != layer.digest:
                raise TemporaryError(
                    f"Layer {layer.digest} of {repository} came damaged or incomplete from the registry.",
                    key=FAILED,
                )
            await upload.commit(layer.digest)

    async def _counted(self, blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for block in blocks:
            self._meter.receive(len(block))
            yield block
