"""An image server of many moods, for a process of its own; every request is written to a file with its time.

``/good`` is a raw disk, ``/busy`` answers 503 with ``Retry-After: 12``, ``/broken`` answers 500, ``/slow`` sends
2 KiB a second, ``/steady`` a disk of 24 MiB in four seconds.
"""

from __future__ import annotations

import asyncio
import sys
import time

from aiohttp import web

DISK = b"\xeb\x63" + bytes(508) + b"\x55\xaa" + b"\x01" * (1 << 20)
RETRY_AFTER_SECONDS = 12


async def answer(request: web.Request) -> web.StreamResponse:
    with open(sys.argv[1], "a") as file:  # noqa: ASYNC230  a line
        file.write(f"{request.path} {time.monotonic()}\n")
    mood = request.path.split("/")[1]
    if mood == "busy":
        return web.Response(status=503, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
    if mood == "broken":
        return web.Response(status=500)
    if mood == "good":
        return web.Response(body=DISK)
    size, piece, pause = (100 << 20, 1 << 10, 0.5) if mood == "slow" else (24 << 20, 1 << 20, 4 / 24)
    response = web.StreamResponse(headers={"Content-Length": str(size)})
    await response.prepare(request)
    for number in range(size // piece):
        await response.write(DISK[:512].ljust(piece, b"\x01") if not number else b"\x01" * piece)
        await asyncio.sleep(pause)
    return response


async def main() -> None:
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
