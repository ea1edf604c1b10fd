"""The embedded registry: the distribution's server program, our configuration, our process.

It listens on a unix socket that only our user can open, and takes nothing but ``tokens`` there, of which each is
good for one repository. It outlives a killed daemon, which adopts it again at the next start; uploads that nobody
will finish are removed then.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from hyperd import durable
from hyperd.background import Background
from hyperd.backoff import backoff
from hyperd.errors import HyperdError, PermanentError, TemporaryError
from hyperd.imagefile import sandbox
from hyperd.settings import Settings
from registry import process, tree
from registry.client import RegistryClient
from registry.interface import Space
from registry.models import RegistryEndpoint
from registry.tokens import ISSUER, TOKEN_PATH, Tokens

_log = logging.getLogger(__name__)
_PROBE_SECONDS = 10.0
_READY_SECONDS = 20.0
_LONGEST_PAUSE_SECONDS = 30.0
_AGAIN_SECONDS = 0.2
_LOG_BYTES = 8 << 20


class EmbeddedRegistry:
    """A docker-registry of our own on a unix socket; ``endpoint`` is known before ``start``."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._root = settings.registry_dir
        self._config = settings.registry_dir / "config.json"
        self._log = settings.log_dir / "registry.log"
        self._argv = [settings.registry.binary, "serve", str(self._config)]
        self._trusted = Path()
        self._process: process.Process | None = None
        self._background = Background()
        self._paused = asyncio.Lock()
        self._healthy = asyncio.Event()
        self.endpoint = embedded_endpoint(settings)
        self._tokens = tokens_of(self.endpoint)
        self._probe = RegistryClient(self.endpoint, settings)

    @property
    def healthy(self) -> bool:
        """Whether it answered the last probe."""
        return self._healthy.is_set()

    async def start(self) -> None:
        """Adopt or start the process and keep it running until ``stop``.

        Returns when it answers, or after 20 seconds without an answer: then it is still being tried, ``healthy``
        is False and the log says why.
        """
        await asyncio.to_thread(self._prepare)
        self._background.spawn(self._supervise, "registry supervisor")
        with suppress(TimeoutError):
            async with asyncio.timeout(_READY_SECONDS):
                await self._healthy.wait()

    async def stop(self) -> None:
        """End the process and the supervision."""
        await self._background.stop()
        await self._end()
        await self._probe.close()

    @asynccontextmanager
    async def stopped(self) -> AsyncIterator[Path]:
        """The registry's folder while no process has it; the process is started again afterwards."""
        async with self._paused:
            await self._end()
            yield self._root
        with suppress(TimeoutError):
            async with asyncio.timeout(_READY_SECONDS):
                await self._healthy.wait()

    def space(self) -> Space:
        """Of the file system that the registry's content is in. A blocking call."""
        found = os.statvfs(self._root)
        used = found.f_blocks - found.f_bfree
        return Space(found.f_blocks * found.f_frsize, used * found.f_frsize, found.f_bavail * found.f_frsize)

    async def sweep(self) -> None:
        """Delete blobs that no manifest names; only inside ``stopped``."""
        argv = [self._settings.registry.binary, "garbage-collect", "--delete-untagged", str(self._config)]
        done = await sandbox.run(argv, timeout=600)
        if done.returncode:
            raise TemporaryError(f"The registry's garbage collection failed: {done.stderr[-500:]}")

    async def _supervise(self) -> None:
        failures = 0
        while True:
            async with self._paused:
                up = await self._bring_up()
            if up:
                failures = 0
                await self._watch()
                await asyncio.sleep(_AGAIN_SECONDS)
            else:
                failures += 1
                await asyncio.sleep(backoff(failures, first=1.0, last=_LONGEST_PAUSE_SECONDS))

    async def _bring_up(self) -> bool:
        """Adopt or start the process; whether it answers."""
        try:
            current = self._process or await self._adopt()
            if current is None:
                current = await asyncio.to_thread(self._launch)
            self._process = current
            await current.until(self._answers, seconds=_READY_SECONDS)
        except (OSError, HyperdError) as err:
            _log.error("the embedded registry does not start (%s); see %s", err, self._log)
            await self._end()
            return False
        self._healthy.set()
        return True

    async def _watch(self) -> None:
        """Until the process ends; a silent one is reported, not killed: it may be busy."""
        current = self._process
        while current is not None and current is self._process:
            try:
                async with asyncio.timeout(_PROBE_SECONDS):
                    await current.exited()
            except TimeoutError:
                await self._ask()
                continue
            break
        if current is not None and current is self._process:
            _log.warning("the embedded registry ended; starting it again")
            await self._end()

    async def _ask(self) -> None:
        with suppress(OSError):
            # It warns of what clients ask for that is not there.
            await asyncio.to_thread(process.bound_log, self._log, _LOG_BYTES)
        if await self._answers():
            self._healthy.set()
        else:
            self._healthy.clear()

    async def _answers(self) -> bool:
        try:
            await self._probe.ping()
        except HyperdError:
            return False
        return True

    async def _adopt(self) -> process.Process | None:
        """The one process that a former daemon left, if it serves this configuration and has no open upload.

        All others are ended, also where it cannot be told: one that may ask for no tokens keeps no socket.
        """
        # One of another program, from before an upgrade, would go on writing to the same folder.
        found = await asyncio.to_thread(process.find, self._argv, any_program=True)
        try:
            self._trusted = await asyncio.to_thread(self._tokens.open)
            changed = await asyncio.to_thread(self._is_changed)
            left = await asyncio.to_thread(tree.uploads, self._root)
            same = len(found) == 1 and await asyncio.to_thread(found[0].runs, self._argv)
            if same and not changed and not left and await self._answers():
                return found.pop()
        finally:
            for other in found:
                await other.end()
                other.close()
        # Once nobody serves the former one: whoever starts in between must not take its process for one of this.
        await asyncio.to_thread(durable.write, self._config, self._configuration())
        return None

    def _launch(self) -> process.Process:
        removed = tree.remove_uploads(self._root)
        if removed:
            _log.info("removed %d unfinished uploads from the registry", removed)
        return process.start(self._argv, log=self._log, environment=sandbox.environment())

    async def _end(self) -> None:
        self._healthy.clear()
        current, self._process = self._process, None
        if current is not None:
            await current.end()
            current.close()

    def _prepare(self) -> None:
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in (self._settings.run_dir, self._settings.log_dir):
            folder.mkdir(parents=True, exist_ok=True)

    def _is_changed(self) -> bool:
        """Whether the configuration differs from what a running process was started with."""
        return not self._config.exists() or self._config.read_bytes() != self._configuration()

    def _configuration(self) -> bytes:
        """JSON is YAML. Upload purging is ours, at start; no cache: it would survive a collection."""
        tokens = self._tokens
        content = {
            "version": 0.1,
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(self._root)},
                "delete": {"enabled": True},
                "maintenance": {"uploadpurging": {"enabled": False}},
            },
            "http": {"net": "unix", "addr": str(self.endpoint.socket), "relativeurls": True},
            "auth": {
                "token": {
                    "realm": f"{self.endpoint.url}{TOKEN_PATH}",
                    "service": tokens.service,
                    "issuer": ISSUER,
                    "rootcertbundle": str(self._trusted),
                }
            },
        }
        return json.dumps(content, indent=2).encode()


def embedded_endpoint(settings: Settings) -> RegistryEndpoint:
    """That of the node's own."""
    # A cluster has one of them on each node, and a reference must say in which an image is.
    name = settings.instance if settings.home == "embedded" else f"{settings.instance}.{settings.node}"
    return RegistryEndpoint(
        url=f"http://registry.{name}.internal",
        socket=settings.run_dir / "registry.sock",
        root=settings.registry_dir,
        tokens=Tokens(settings.state_dir / "registry-keys", f"registry.{name}.internal"),
    )


def tokens_of(endpoint: RegistryEndpoint) -> Tokens:
    """Those of an embedded registry."""
    assert endpoint.tokens is not None  # noqa: S101  of an embedded one
    return endpoint.tokens


def external_endpoint(settings: Settings) -> RegistryEndpoint:
    """The registry that ``settings.registry.url`` names; PermanentError if its password cannot be read."""
    registry = settings.registry
    password = ""
    if registry.password_file is not None:
        try:
            password = registry.password_file.read_text().strip()
        except OSError as err:
            raise PermanentError(f"Setting registry.password_file: {err}.") from err
    return RegistryEndpoint(registry.url, registry.username, password, registry.ca_file)
