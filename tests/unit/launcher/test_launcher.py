"""The program in a machine's Pod, driven as kubelet and hyperd drive it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from hyperd.errors import TemporaryError
from hyperd.launcher import connection
from hyperd.launcher.connection import SOCKET, Launcher
from hyperd.launcher.sandbox import Sandbox, peer_of

_SECONDS = 10.0


@pytest.fixture
def started(programs: Path, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = start(programs, tmp_path)
    yield process
    process.kill()
    process.wait()


def start(programs: Path, folder: Path, **kwargs: object) -> subprocess.Popen[bytes]:
    argv = [programs / "launcher", "run", folder]
    process: subprocess.Popen[bytes] = subprocess.Popen(argv, stdout=subprocess.PIPE, **kwargs)  # type: ignore[call-overload]
    assert process.stdout is not None
    assert process.stdout.readline() == b"Waiting for the node's hyperd.\n"
    return process


def connected(folder: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(_SECONDS)
    made.connect(str(folder / SOCKET))
    assert made.recv(64) == b"launcher 2\n"
    return made


def ready(programs: Path, folder: Path) -> bool:
    return subprocess.run([programs / "launcher", "ready", folder], check=False).returncode == 0


def wait_ready(programs: Path, folder: Path, wanted: bool) -> None:
    deadline = time.monotonic() + _SECONDS
    while ready(programs, folder) is not wanted:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_is_ready_exactly_while_the_guest_runs(
    programs: Path, started: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    assert not ready(programs, tmp_path)
    with connected(tmp_path) as hyperd:
        hyperd.sendall(b"running\nwhat a later version says\n")
        wait_ready(programs, tmp_path, True)
        hyperd.sendall(b"stop")
        hyperd.sendall(b"ped\n")
        wait_ready(programs, tmp_path, False)
    assert started.poll() is None


def test_what_the_guest_says_is_in_its_output_as_it_is(
    programs: Path, started: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    assert started.stdout is not None
    with connected(tmp_path) as hyperd:
        hyperd.sendall(b"console 0\nconsole -1\nconsole 65537\nconsole x\nconsole \nconsole 12\nexit 3\n\0\x1b[2")
        hyperd.sendall(b"Jconsole 6\nexit ")
        hyperd.sendall(b"8runn")
        hyperd.sendall(b"ing\n")
        assert started.stdout.read(len(b"exit 3\n\0\x1b[2Jexit 8The guest runs.\n")) == (
            b"exit 3\n\0\x1b[2Jexit 8The guest runs.\n"
        )
        # Nobody takes it: it is lost, and the launcher goes on.
        for _ in range(64):
            hyperd.sendall(b"console 65536\n" + b"x" * 65536)
        hyperd.sendall(b"stopped\n")
        wait_ready(programs, tmp_path, False)
        hyperd.sendall(b"console 40000\n" + b"y" * 10)
    # Of another one's half of a word nothing is left.
    with connected(tmp_path) as hyperd:
        hyperd.sendall(b"exit 4\n")
        assert started.wait(_SECONDS) == 4


@pytest.mark.parametrize("code", [0, 7, 255])
def test_asks_for_a_shutdown_and_ends_with_the_code_it_is_told(
    started: subprocess.Popen[bytes], tmp_path: Path, code: int
) -> None:
    with connected(tmp_path) as hyperd:
        hyperd.sendall(b"running\n")
        started.terminate()
        assert hyperd.recv(64) == b"term\n"
        with pytest.raises(subprocess.TimeoutExpired):
            started.wait(0.2)
        hyperd.sendall(b"exit 256\nexit \nexit x\nexit %d\n" % code)
        assert started.wait(_SECONDS) == code
    assert not (tmp_path / "ready").exists()


def test_ends_at_once_where_no_guest_could_be(started: subprocess.Popen[bytes]) -> None:
    started.terminate()
    assert started.wait(_SECONDS) == 0


def test_waits_for_a_hyperd_that_is_restarted_while_the_guest_shuts_down(
    programs: Path, started: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    with connected(tmp_path) as hyperd:
        hyperd.sendall(b"running\n")
        wait_ready(programs, tmp_path, True)
    started.terminate()
    with socket.socket(socket.AF_UNIX) as again:
        again.settimeout(_SECONDS)
        again.connect(str(tmp_path / SOCKET))
        told = b""
        while not told.endswith(b"term\n"):
            told += again.recv(64)
        again.sendall(b"exit 0\n")
        assert started.wait(_SECONDS) == 0


def test_speaks_with_who_connected_last(started: subprocess.Popen[bytes], tmp_path: Path) -> None:
    with connected(tmp_path) as first, connected(tmp_path) as second:
        assert first.recv(64) == b""
        second.sendall(b"exit 3\n")
        assert started.wait(_SECONDS) == 3


def test_parts_from_who_never_ends_a_line(started: subprocess.Popen[bytes], tmp_path: Path) -> None:
    with connected(tmp_path) as hostile:
        hostile.sendall(b"x" * 4096)
        try:
            assert hostile.recv(64) == b""
        except ConnectionResetError:
            pass
    connected(tmp_path).close()
    assert started.poll() is None


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Where every user can write, as pytest's own folders are not."""
    with tempfile.TemporaryDirectory(prefix="hv-pod-") as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder


def test_needs_no_privilege_and_two_mebibytes_at_most(programs: Path, open_folder: Path) -> None:
    if os.getuid() == 0:
        process = start(programs, open_folder, user=65534, group=65534, extra_groups=[])
    else:
        process = start(programs, open_folder)
    try:
        assert (open_folder / SOCKET).stat().st_mode & 0o777 == 0o700
        with connected(open_folder) as hyperd:
            hyperd.sendall(b"running\n")
            wait_ready(programs, open_folder, True)
            status = Path(f"/proc/{process.pid}/status").read_text()
        resident = int(status.partition("VmRSS:")[2].split()[0])
        assert resident <= 2048, f"{resident} KiB"
        assert "Threads:\t1\n" in status
    finally:
        process.kill()
        process.wait()


async def test_hyperd_hears_that_the_pod_ends_and_says_what_the_guest_does(
    programs: Path, started: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    changed = asyncio.Event()
    made = socket.socket(socket.AF_UNIX)
    made.setblocking(False)
    made.connect(str(tmp_path / SOCKET))
    assert peer_of(made) == started.pid
    launcher = Launcher(made, Sandbox("uid", started.pid, Path("/dev/null"), ()), changed.set)
    await launcher.tell_running()
    await asyncio.to_thread(wait_ready, programs, tmp_path, True)
    started.send_signal(signal.SIGTERM)
    await asyncio.wait_for(changed.wait(), _SECONDS)
    assert launcher.ending
    changed.clear()
    await launcher.tell_console(b"last\nwords")
    await launcher.tell_ended(4)
    await asyncio.wait_for(changed.wait(), _SECONDS)
    assert launcher.gone
    assert await asyncio.to_thread(started.wait, _SECONDS) == 4
    assert started.stdout is not None
    assert b"last\nwordsThe guest is off.\n" in started.stdout.read()
    with pytest.raises(TemporaryError, match="no longer there"):
        await launcher.tell_running()
    await launcher.close()


async def test_parts_from_what_goes_on_speaking_or_does_not_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    for speaks in (True, False):
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        launcher = Launcher(ours, Sandbox("uid", os.getpid(), Path("/dev/null"), ()), lambda: None)
        with theirs, ThreadPoolExecutor(1) as elsewhere:
            if speaks:
                flood = elsewhere.submit(_flood, theirs)
            else:
                monkeypatch.setattr(connection, "_SEND_SECONDS", 0.1)
                ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
                with pytest.raises(TemporaryError, match="no longer there"):
                    await _speak(launcher)
            async with asyncio.timeout(_SECONDS):
                while not launcher.gone:
                    await asyncio.sleep(0.01)
            await launcher.close()
            if speaks:
                assert await asyncio.to_thread(flood.result, _SECONDS) < 10 << 20


async def _speak(launcher: Launcher) -> None:
    while True:
        await launcher.tell_running()


def _flood(connection_: socket.socket) -> int:
    """Bytes that were taken of what has no end."""
    sent = 0
    with suppress(OSError):
        while True:
            sent += connection_.send(b"running\n" * 512)
    return sent


async def test_is_not_led_out_of_the_pods_volume(tmp_path: Path) -> None:
    uid = "0b1c2d3e-0000-4000-8000-000000000001"
    volume = tmp_path / "kubelet" / connection.volume_of(uid)
    volume.mkdir(parents=True)
    (volume / SOCKET).symlink_to("/run/docker.sock")
    with pytest.raises(TemporaryError, match="not there yet"):
        await connection.connect(tmp_path / "kubelet", uid, lambda: None)
    (volume / SOCKET).unlink()
    (volume / SOCKET).write_text("")
    with pytest.raises(TemporaryError, match="left alone"):
        await connection.connect(tmp_path / "kubelet", uid, lambda: None)


async def test_leaves_alone_who_is_in_no_cgroup_of_the_pod(programs: Path, tmp_path: Path) -> None:
    uid = "0b1c2d3e-0000-4000-8000-000000000002"
    volume = tmp_path / connection.volume_of(uid)
    volume.mkdir(parents=True)
    process = await asyncio.to_thread(start, programs, volume)
    try:
        with pytest.raises(TemporaryError, match="no cgroup of the Pod"):
            await connection.connect(tmp_path, uid, lambda: None)
    finally:
        process.kill()
        process.wait()
