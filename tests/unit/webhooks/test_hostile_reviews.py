"""Every review of the corpus, to every webhook: an answer, and the loop goes on. See its README."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import aiohttp
from aiohttp import web

from hyperd.api.serving.evictions import Evictions
from hyperd.api.serving.middleware import Middleware, RequestInfo
from hyperd.api.serving.webhooks import Webhooks
from hyperd.api.wire.metrics import Metrics
from hyperd.offload import Offload
from hyperd.resources.values.names import CONVERSION_PATH, MUTATION_PATH, VALIDATION_PATH
from tests.parts import part
from tests.unit.admission.world import World
from tests.unit.api.test_hostile_bodies import MOST_CPU, content, timed_callbacks
from tests.unit.webhooks.test_reviews import webhook

CORPUS = Path(__file__).parents[2] / "corpus" / "reviews"


async def test_a_hostile_review_holds_up_nobody() -> None:
    processes = Offload()
    webhooks = Webhooks(webhook().own, Evictions(part(World())), max_body_bytes=3 << 20, processes=processes)

    async def answer(request: web.BaseRequest, request_id: str, seen: RequestInfo) -> web.StreamResponse:
        return await webhooks.answer(request, request.path, request_id)

    runner = web.ServerRunner(web.Server(Middleware(answer, Metrics(())), auto_decompress=False))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    gc.freeze()
    faults = []
    try:
        async with aiohttp.ClientSession() as client:
            for file in sorted(await asyncio.to_thread(lambda: list(CORPUS.glob("*.body")))):
                _, body = await asyncio.to_thread(content, file)
                for path in (MUTATION_PATH, VALIDATION_PATH, CONVERSION_PATH):
                    url = f"http://127.0.0.1:{runner.addresses[0][1]}{path}"
                    worst = []
                    for _ in range(2):  # what a busy host does to CPU time it does not do twice
                        with timed_callbacks() as callbacks:
                            async with client.post(
                                url, data=body, headers={"Content-Type": "application/json"}
                            ) as answered:
                                await answered.read()
                        worst.append((callbacks.worst, callbacks.what))
                        if callbacks.worst <= MOST_CPU:
                            break
                    if answered.status >= 500 or min(worst)[0] > MOST_CPU:
                        faults.append((file.stem, path, answered.status, min(worst)))
    finally:
        await runner.cleanup()
        await processes.close()
    assert not faults
