"""``hv`` as users run it: a process, against a real API server."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hyperd.settings import Settings
from tests.tui.world import World, populate, serving, short_folder

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Hv:
    """Runs ``hv`` in one environment."""

    env: dict[str, str]

    async def __call__(self, *arguments: str, stdin: str = "", code: int | None = 0, cwd: Path = ROOT) -> Result:
        """Run to the end; ``code`` is what it must exit with (None: any)."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "hyperd.cli.main", *arguments,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=self.env, cwd=cwd,
        )  # fmt: skip
        out, err = await asyncio.wait_for(process.communicate(stdin.encode()), 60)
        result = Result(process.returncode or 0, out.decode(), err.decode())
        assert "Traceback" not in result.err, result.err
        if code is not None:
            assert result.code == code, result
        return result


def environment(world: World) -> dict[str, str]:
    """What ``hv`` sees: this world, and nothing of the developer's."""
    return seen(world.settings)


def seen(settings: Settings) -> dict[str, str]:
    """What ``hv`` sees of a daemon of these settings."""
    kept = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
    return {**kept, "HYPERD_SOCKET": str(settings.socket_path), "HOME": str(settings.run_dir)}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    with short_folder() as folder:
        async with serving(folder) as running:
            await populate(running)
            yield running


@pytest.fixture
def hv(world: World) -> Hv:
    return Hv(environment(world))
