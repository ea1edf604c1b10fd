"""One serial connection for all who look."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from pathlib import Path
from uuid import uuid4

import pytest

from hyperd.api.limits.turns import Take, stepping
from hyperd.errors import NotFound, ServiceUnavailable
from hyperd.hypervisor.console import socket as console_socket
from hyperd.hypervisor.console.hub import _DRAWN_AT_ONCE, REPLAY_BYTES, ConsoleHub, ConsoleSession
from hyperd.settings import Settings
from tests.unit.sessions.conftest import Serial


def uid_of(serial: Serial) -> str:
    return serial._path.name


async def read(session: ConsoleSession, size: int) -> bytes:
    data = b""
    async with asyncio.timeout(5):
        while len(data) < size:
            piece = await session.read()
            if not piece:
                break
            data += piece
    return data


async def test_every_session_sees_all_output_over_one_connection(hub: ConsoleHub, serial: Serial) -> None:
    first, second = await hub.attach(uid_of(serial)), await hub.attach(uid_of(serial))
    await serial.say(b"login: ")
    assert await read(first, 7) == await read(second, 7) == b"login: "
    assert serial.connections == 1


def one_step(stalled: asyncio.Event, end: asyncio.Future[None]) -> Take:
    """Turns of which only the first one comes before ``end``; ``stalled`` is set once the second is waited for."""
    first = iter([None])

    def take() -> asyncio.Future[None] | None:
        for turn in first:
            return turn
        stalled.set()
        return None if end.done() else end

    return take


async def test_who_waits_for_a_turn_keeps_no_console_from_others(
    hub: ConsoleHub, serial: Serial, settings: Settings
) -> None:
    other = Serial(settings.console_dir / str(uuid4()))
    await other.start()
    waiting = list[asyncio.Task[ConsoleSession]]()
    end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    try:
        async with asyncio.timeout(10):
            for uid in (uid_of(serial), uid_of(other)):
                for _ in range(_DRAWN_AT_ONCE + 1):
                    stalled = asyncio.Event()
                    attaching = stepping(hub.attach(uid_of(serial), replay=100), one_step(stalled, end))
                    waiting.append(asyncio.create_task(attaching))
                    await stalled.wait()
                (await hub.attach(uid, replay=100)).close()
    finally:
        end.set_result(None)
        await asyncio.gather(*waiting)
    await other.power_off()


async def test_what_is_typed_reaches_the_guest(hub: ConsoleHub, serial: Serial) -> None:
    session = await hub.attach(uid_of(serial))
    await session.write(b"root\r\x00\xff")
    assert await asyncio.wait_for(serial.typed.get(), 5) == b"root\r\x00\xff"


async def test_past_output_is_replayed_on_request_only(hub: ConsoleHub, serial: Serial) -> None:
    first = await hub.attach(uid_of(serial))
    await serial.say(b"booting...\r\nlogin: ")
    await read(first, 19)
    first.close()
    again = await hub.attach(uid_of(serial), replay=100)
    silent = await hub.attach(uid_of(serial))
    assert await read(again, 23) == b"booting...\r\nlogin:\r\x1b[7C"
    await serial.say(b"x")
    assert await read(silent, 1) == b"x"
    assert serial.connections == 1, "the connection stays for the next session"


async def test_what_was_said_before_the_daemon_started_is_replayed_from_the_log(
    hub: ConsoleHub, serial: Serial, settings: Settings
) -> None:
    (settings.console_log_dir / f"{uid_of(serial)}.log").write_bytes(b"old\r\nlogin: ")
    session = await hub.attach(uid_of(serial), replay=1000)
    assert await read(session, 16) == b"old\r\nlogin:\r\x1b[7C"


async def test_what_a_guest_asked_once_is_not_asked_again_and_what_comes_meanwhile_follows(
    hub: ConsoleHub, serial: Serial
) -> None:
    first = await hub.attach(uid_of(serial))
    await serial.say(b"\x1b[6n\x1b[c\x1b]11;?\x07$")
    await read(first, 14)
    attaching = asyncio.create_task(hub.attach(uid_of(serial), replay=65536))
    await asyncio.sleep(0)
    await serial.say(b" ls")
    session = await attaching
    seen = b""
    while not seen.endswith(b" ls"):
        seen += await asyncio.wait_for(session.read(), 5)
    assert seen == b"$\r\x1b[1C ls"


async def test_a_slow_session_loses_its_oldest_output_and_memory_stays_bounded(
    hub: ConsoleHub, serial: Serial
) -> None:
    slow, quick = await hub.attach(uid_of(serial)), await hub.attach(uid_of(serial))
    total = 3 << 20
    reading = asyncio.create_task(read(quick, total))
    for number in range(total // 65536):
        await serial.say(bytes((number,)) * 65536)
    assert len(await reading) == total
    kept = await read(slow, 1 << 20)
    assert len(kept) == 1 << 20
    assert kept[-1] == total // 65536 - 1
    assert slow.dropped == total - (1 << 20)
    assert len(hub._lines[uid_of(serial)]._past) == REPLAY_BYTES


async def test_sessions_end_with_the_guest_and_a_new_start_is_found(hub: ConsoleHub, serial: Serial) -> None:
    session = await hub.attach(uid_of(serial))
    await serial.say(b"bye")
    await serial.power_off()
    assert await read(session, 100) == b"bye"
    assert await session.read() == b""
    with pytest.raises(ConnectionError):
        await session.write(b"x")
    with pytest.raises(ServiceUnavailable):
        await hub.attach(uid_of(serial))
    await serial.start()
    serial.connected.clear()
    again = await hub.attach(uid_of(serial))
    await serial.say(b"hello again")
    assert await read(again, 11) == b"hello again"


async def test_a_console_that_another_program_holds_is_refused_at_once(
    hub: ConsoleHub, settings: Settings
) -> None:
    uid = str(uuid4())
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as taken:
        server.bind(str(settings.console_dir / uid))
        server.listen(0)
        taken.connect(str(settings.console_dir / uid))
        with pytest.raises(ServiceUnavailable, match="another program than hyperd"):
            await asyncio.wait_for(hub.attach(uid), 2)


async def test_closing_the_hub_ends_sessions(hub: ConsoleHub, serial: Serial) -> None:
    session = await hub.attach(uid_of(serial))
    await hub.close()
    assert await asyncio.wait_for(session.read(), 5) == b""


@pytest.mark.parametrize("uid", ["", "../hyperd.sock", "/etc/passwd", "a\x00b", "x" * 300])
async def test_what_is_no_uid_opens_nothing(hub: ConsoleHub, uid: str) -> None:
    with pytest.raises(NotFound):
        await hub.attach(uid)
    with pytest.raises(NotFound):
        hub.log(uid)


async def test_a_link_to_another_socket_is_not_followed(hub: ConsoleHub, settings: Settings) -> None:
    other = settings.run_dir / "other.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(other))
        server.listen()
        uid = str(uuid4())
        (settings.console_dir / uid).symlink_to(other)
        with pytest.raises(ServiceUnavailable):
            await hub.attach(uid)
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


async def test_what_is_no_socket_is_left_alone(hub: ConsoleHub, settings: Settings) -> None:
    uid = str(uuid4())
    os.mkfifo(settings.console_dir / uid)
    with pytest.raises(ServiceUnavailable, match="not a socket"):
        await hub.attach(uid)


async def test_a_folder_that_others_may_write_holds_no_console(
    hub: ConsoleHub, serial: Serial, settings: Settings
) -> None:
    settings.console_dir.chmod(0o777)
    with pytest.raises(ServiceUnavailable, match="chmod"):
        await hub.attach(uid_of(serial))


async def test_a_path_beyond_the_limit_of_socket_names_is_reached(folder: Path) -> None:
    deep = folder / ("d" * 100)
    settings = Settings(run_dir=deep, log_dir=deep)
    settings.console_dir.mkdir(parents=True, mode=0o711)
    descriptor = os.open(settings.console_dir, os.O_RDONLY)
    uid = str(uuid4())
    serial = Serial(Path(f"/proc/self/fd/{descriptor}/{uid}"))
    await serial.start()
    hub = ConsoleHub(settings)
    session = await hub.attach(uid)
    await serial.say(b"far")
    assert await read(session, 3) == b"far"
    await hub.close()
    await serial.power_off()
    os.close(descriptor)


async def test_swapping_the_socket_for_a_link_never_leads_elsewhere(serial: Serial, settings: Settings) -> None:
    decoy, path = settings.run_dir / "decoy", settings.console_dir / uid_of(serial)
    swapped, real = settings.console_dir / "swap", settings.console_dir / "real"
    os.link(path, real)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            swapped.symlink_to(decoy)
            swapped.rename(path)
            os.link(real, swapped)
            swapped.rename(path)

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(decoy))
        server.listen()
        swapping = asyncio.create_task(asyncio.to_thread(swap))
        reached = refused = 0
        async with asyncio.timeout(10):
            while reached < 50 or refused < 50:
                try:
                    (await asyncio.to_thread(console_socket.connect, settings.console_dir, path.name)).close()
                    reached += 1
                except ServiceUnavailable:
                    refused += 1
        stop.set()
        await swapping
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
