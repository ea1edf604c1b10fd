"""Copies for machines: how often they are tried, and what is kept of those of images that are gone."""

from __future__ import annotations

import asyncio
import itertools
import weakref
from pathlib import Path
from typing import cast

import pytest

from hyperd.controllers.machine.copies import Copies, Missing
from hyperd.controllers.retries import LAST_SECONDS, SOON_SECONDS, Retries
from hyperd.errors import HyperdError, NotFound, PermanentError, ServiceUnavailable, TemporaryError
from hyperd.imagefile.detect import ImageFormat
from hyperd.progress import Report
from registry.interface import Images
from registry.models import CachedImage


class Cache:
    """Fails as it is told to; counts what is asked of it."""

    def __init__(self) -> None:
        self.tries: list[str] = []
        self.error: HyperdError | None = None
        self.made: list[weakref.ref[CachedImage]] = []

    async def copy(self, reference: str, _: Report) -> CachedImage:
        self.tries.append(reference)
        if self.error is not None:
            raise self.error
        image = CachedImage(Path(reference), "sha256:0", ImageFormat.RAW, virtual_size=1, cdrom=False)
        self.made.append(weakref.ref(image))
        return image


class Scene:
    """Copies of a cache that is told how to behave, and a clock that passes when told to."""

    def __init__(self) -> None:
        self.now = 100.0
        self.cache, self.images = Cache(), {"u1", "u2"}
        retries = Retries(now=lambda: self.now, jitter=lambda: 0.0)
        self.copies = Copies(cast("Images", self.cache), lambda: frozenset(self.images), retries=retries)

    async def ask(self, uid: str = "u1", machine: str = "m1") -> CachedImage | Missing:
        """What is said once a try that this begins has ended."""
        ended = asyncio.Event()
        tries = len(self.cache.tries)
        found = self.copies.get(uid, f"r/{uid}", machine=machine, wake=ended.set)
        await asyncio.sleep(0)
        if len(self.cache.tries) == tries:
            return found
        await ended.wait()
        return self.copies.get(uid, f"r/{uid}", machine=machine, wake=ended.set)


@pytest.mark.parametrize(
    ("error", "last"),
    [
        (TemporaryError("no"), LAST_SECONDS),
        (NotFound("no"), LAST_SECONDS),
        (PermanentError("no"), LAST_SECONDS),
        (ServiceUnavailable("no"), SOON_SECONDS),
    ],
)
async def test_a_copy_that_fails_is_tried_later_each_time_however_many_ask(
    error: HyperdError, last: float
) -> None:
    scene = Scene()
    scene.cache.error = error
    began: list[float] = []
    end = scene.now + 2000
    while scene.now < end:
        tries = len(scene.cache.tries)
        for machine in ("m1", "m2", "m3"):
            found = await scene.ask(machine=machine)
            assert isinstance(found, Missing)
            assert found.why == "cannot be copied to the node: no"
        if len(scene.cache.tries) > tries:
            assert len(scene.cache.tries) == tries + 1
            began.append(scene.now)
        scene.now += 1
    gaps = [int(later - earlier) for earlier, later in itertools.pairwise(began)]
    assert gaps[:6] == [min(5 * 2**tries, last) for tries in range(6)]
    assert set(gaps[6:]) == {int(last)}
    scene.cache.error = None
    scene.now += LAST_SECONDS
    assert isinstance(await scene.ask(), CachedImage)
    scene.copies.forget("u1")
    scene.cache.error = error
    await scene.ask()
    scene.now += 5
    scene.cache.error = None
    assert isinstance(await scene.ask(), CachedImage), "it begins anew after a success"


async def test_the_failures_of_one_image_keep_no_other_waiting() -> None:
    scene = Scene()
    scene.cache.error = TemporaryError("no")
    await scene.ask("u1")
    scene.cache.error = None
    assert isinstance(await scene.ask("u2"), CachedImage)
    assert isinstance(await scene.ask("u1"), Missing)


async def test_nothing_is_kept_of_images_that_are_gone() -> None:
    scene = Scene()
    await scene.ask("u1")
    scene.cache.error = TemporaryError("no")
    await scene.ask("u2")
    scene.cache.error = None
    for number in range(3, 100):
        scene.images = {f"u{number}"}
        await scene.ask(f"u{number}")
    await asyncio.sleep(0)
    alive = [made for made in scene.cache.made if made() is not None]
    assert len(alive) == 1
    assert not scene.copies._failed
    assert not scene.copies._retries._due


async def test_a_copy_of_a_gone_image_that_is_under_way_ends_by_itself_and_is_dropped_then() -> None:
    scene = Scene()
    scene.copies.get("u1", "r/u1", machine="m1", wake=lambda: None)
    scene.images = {"u2"}
    scene.copies.get("u2", "r/u2", machine="m1", wake=lambda: None)
    assert scene.copies._jobs.get("u1") is not None
    await asyncio.sleep(0.01)
    assert scene.cache.tries == ["r/u1", "r/u2"]
    scene.images = {"u3"}
    await scene.ask("u3")
    assert scene.copies._jobs.get("u1") is None
    await scene.copies.close()
