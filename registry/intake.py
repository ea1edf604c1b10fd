"""Uploads: where who imports an image and who sends it meet.

An import waits here until somebody sends its bytes, by the secret in the object's address or by the object's uid.
It takes one body at a time. One that breaks off, or that comes while our own side cannot take it, leaves nothing,
and the import waits for the next. One that is no image or not the right one ends it: the reference has that object
created anew. What sends and what imports are different tasks, and neither holds more than a few blocks.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from hyperd import clock
from hyperd.errors import (
    BadRequest,
    HyperdError,
    InternalError,
    PermanentError,
    RequestEntityTooLarge,
    ServiceUnavailable,
)
from hyperd.progress import Progress, Report
from hyperd.settings import ImportSettings
from registry.models import Addressee, Body, ImportedImage, ImportRequest

PATH: Final = "/upload/"
"""Where addresses are, as in the reference; the secret follows."""
TIMEOUT: Final = "WaitForUserUploadTimeout"
TERMINAL: Final = "ProvisioningFailedTerminally"
"""The reference's reasons for an upload that did not come, and for one that was refused."""
WAITING: Final = "Waiting for the upload."
_AGAIN_SECONDS: Final = 5
_BEGIN_SECONDS: Final = 30.0
"""How long a start may take until all imports that were under way are taken up again."""
_REMEMBERED: Final = 1024
"""Addresses that were used while it may."""

Work = Callable[[ImportRequest], Awaitable[ImportedImage]]


@dataclass(frozen=True)
class URLs:
    """The addresses of one upload; empty where there is none."""

    external: str = ""
    internal: str = ""


class Expected:
    """One upload that is waited for."""

    def __init__(self, uid: str, addressee: Addressee, most: int) -> None:
        self.uid = uid
        self.addressee = addressee
        self._most = most
        self._body: Body | None = None
        self._came = asyncio.Event()
        self._outcome: asyncio.Future[ImportedImage] | None = None
        self._over = False

    async def send(self, body: Body) -> ImportedImage:
        """Have ``body`` imported.

        Raises, before anything of it is read, ServiceUnavailable while another one is received and
        RequestEntityTooLarge or BadRequest for a length that cannot be; then what it was refused for.
        """
        if self._over:
            raise _ended(self.addressee)
        if self._body is not None:
            raise ServiceUnavailable(
                f"Another upload for {self.addressee} is being received; one is taken at a time.",
                retry_after_seconds=_AGAIN_SECONDS,
            )
        if body.length == 0:
            raise BadRequest("The upload is empty; send the image as the body of the request.")
        if body.length is not None and body.length > self._most:
            raise RequestEntityTooLarge(
                f"The upload has {body.length} bytes, where {self._most} are taken (setting "
                "imports.max_download_bytes)."
            )
        self._body = body
        outcome = self._outcome = asyncio.get_running_loop().create_future()
        self._came.set()
        # Who sends may leave; what became of the body is the import's to say all the same.
        return await asyncio.shield(outcome)

    async def come(self, seconds: float) -> Body:
        """The next body. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            await self._came.wait()
        assert self._body is not None  # noqa: S101  it is what came
        return self._body

    def settle(self, result: ImportedImage | HyperdError) -> None:
        """Tell who sent the last body; the next one may come."""
        outcome, self._outcome, self._body = self._outcome, None, None
        self._came.clear()
        if outcome is None or outcome.done():
            return
        if isinstance(result, HyperdError):
            outcome.set_exception(result)
            outcome.exception()  # nobody may be there any more to hear it
        else:
            outcome.set_result(result)

    def end(self) -> None:
        """Nothing is taken any more."""
        self._over = True
        self.settle(_ended(self.addressee))


class Intake:
    """All uploads that are waited for now."""

    def __init__(self, limits: ImportSettings) -> None:
        self._limits = limits
        self._by_uid: dict[str, Expected] = {}
        self._by_digest: dict[bytes, Expected] = {}
        self._ended: dict[bytes, None] = {}
        self._bases = URLs()
        self._began = clock.elapsed()

    def may_come(self, secret: str) -> bool:
        """Whether what waits at that address may not be known yet, as this began a moment ago."""
        return clock.elapsed() - self._began < _BEGIN_SECONDS and _digest(secret) not in self._ended

    def serve_at(self, external: str, internal: str) -> None:
        """The URLs that lead to who calls ``find``, without a path. Never called, no addresses are given out."""
        self._bases = URLs(external.rstrip("/"), internal.rstrip("/"))
        self._began = clock.elapsed()

    def urls(self, secret: str) -> URLs:
        """Where an upload may be sent to."""
        bases = self._bases
        return URLs(*(f"{base}{PATH}{secret}" if base else "" for base in (bases.external, bases.internal)))

    def find(self, secret: str) -> Expected | None:
        """What waits for the upload of that address."""
        return self._by_digest.get(_digest(secret))

    def of(self, uid: str) -> Expected | None:
        """What waits for the upload of that object."""
        return self._by_uid.get(uid)

    async def receive(
        self, request: ImportRequest, addressee: Addressee, work: Work, report: Report
    ) -> ImportedImage:
        """Do ``work`` with what somebody sends, until it goes well.

        Raises PermanentError, with the key ``TIMEOUT`` where nobody sends anything for too long.
        """
        waits = WAITING
        with self._expected(request.tag, addressee) as expected:
            while True:
                report(Progress(0.0, 0, 0, 0, waits=waits))
                try:
                    body = await expected.come(self._limits.upload_timeout_seconds)
                except TimeoutError:
                    raise PermanentError(_late(self._limits.upload_timeout_seconds, waits), key=TIMEOUT) from None
                report(Progress(0.0, 0, 0, 0))
                try:
                    image = await work(replace(request, body=body))
                except PermanentError as err:
                    expected.settle(err)
                    raise PermanentError(err.message, key=TERMINAL) from err
                except (HyperdError, OSError) as err:
                    told = err if isinstance(err, HyperdError) else InternalError(f"It failed: {err.strerror}.")
                    expected.settle(told)
                    waits = f"{WAITING} The last one failed: {told.message}"
                else:
                    expected.settle(image)
                    return image

    @contextmanager
    def _expected(self, uid: str, addressee: Addressee) -> Iterator[Expected]:
        expected, digest = Expected(uid, addressee, self._limits.max_download_bytes), _digest(addressee.secret)
        self._by_uid[uid] = self._by_digest[digest] = expected
        try:
            self._ended.pop(digest, None)
            yield expected
        finally:
            # A later import of the same object may have taken its place.
            if self._by_uid.get(uid) is expected:
                del self._by_uid[uid]
            if self._by_digest.get(digest) is expected:
                del self._by_digest[digest]
                self._ended[digest] = None
                if len(self._ended) > _REMEMBERED:
                    del self._ended[next(iter(self._ended))]
            expected.end()


def _digest(secret: str) -> bytes:
    """Found by its digest, how long a look-up takes tells nothing of a secret."""
    return hashlib.sha256(secret.encode()).digest()


def _late(seconds: float, waits: str) -> str:
    why = waits.removeprefix(WAITING).strip()
    return (
        f"Nobody uploaded anything for {seconds:g} seconds; delete the object and create it again. {why}".strip()
    )


def _ended(addressee: Addressee) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"The upload for {addressee} is no longer taken: it was deleted or changed, or the daemon is stopping."
    )
