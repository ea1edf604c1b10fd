"""The cluster's home before anything is installed in it: waited for while it is down, refused while it is bare."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from hyperd.errors import PermanentError
from hyperd.home import KubernetesHome
from hyperd.settings import KubernetesSettings, Settings
from tests.cluster.controlplane.plane import ControlPlane

pytestmark = pytest.mark.cluster


@pytest.fixture
def bare() -> Iterator[ControlPlane]:
    """A control plane that does not run yet, and in which nobody has installed anything."""
    plane = ControlPlane()
    yield plane
    plane.stop()


async def test_it_waits_for_the_api_server_and_says_what_to_install(
    bare: ControlPlane, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(
        home="kubernetes", state_dir=tmp_path, kubernetes=KubernetesSettings(kubeconfig=bare.kubeconfig)
    )
    home = KubernetesHome(settings)
    await home.open()
    preparing = asyncio.create_task(home.prepare())
    done, _ = await asyncio.wait({preparing}, timeout=1)
    assert not done
    assert "cannot be reached" in caplog.text
    bare.start()
    with pytest.raises(PermanentError, match=r"does not serve .*virtualmachines.*hv install --image IMAGE"):
        await asyncio.wait_for(preparing, 30)
    await home.close()
