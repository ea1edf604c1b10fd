"""Servers that mean harm: what they answer costs bounded memory and time, and ends in a sentence."""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from hyperd.cli.main import main
from hyperd.cli.watch import Screen
from hyperd.client import sanitize
from hyperd.client.home import local
from hyperd.client.http1 import Connection, ConnectionLost
from hyperd.client.kinds import built_in
from hyperd.client.sync import Client

CORPUS = Path(__file__).parents[2] / "corpus" / "evil-answers"
ROOT = Path(__file__).parents[3]
ANSWERS = sorted(path for path in CORPUS.iterdir() if path.name != "README.md")
_MOST_MEMORY = 900 << 20
COMMANDS = (
    ("get", "vm"), ("get", "vm", "x", "-o", "yaml"), ("describe", "vm", "x"), ("get",), ("stop", "x", "-y"),
    ("delete", "vm", "x", "-t", "2"), ("token", "list"), ("gc",), ("log", "x"), ("get", "vm", "-o", "name"),
    ("snapshot", "list"), ("snapshot", "restore", "x", "-y", "-t", "2"), ("clone", "x", "y", "-t", "2"),
    ("version",), ("__complete", "3", "get", "vm", ""), ("console", "x", "-t", "1"), ("curl", "/x"),
    ("disk", "export", "vd/x", "-o", "-"), ("registry", "gc"), ("registry", "gc", "--run"), ("top", "--once"),
    ("screenshot", "x", "-o", "/dev/null"), ("vnc", "x"), ("port-forward", "x", "--stdio", "22"), ("ssh", "x"),
)  # fmt: skip


class Evil:
    """Gives every connection the same answer, written by ``speak``."""

    def __init__(self, path: Path, speak: Callable[[socket.socket], None]) -> None:
        self.path = path
        self._speak = speak
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(16)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while b"\r\n\r\n" not in connection.recv(65536):
                pass
            self._speak(connection)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def evil(tmp_path: Path) -> Iterator[Callable[[Callable[[socket.socket], None]], Evil]]:
    made: list[Evil] = []

    def serve(speak: Callable[[socket.socket], None]) -> Evil:
        made.append(Evil(tmp_path / f"s{len(made)}", speak))
        return made[-1]

    yield serve
    for server in made:
        server.close()


def answer_of(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix != ".json":
        return content
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(content) + content
    )


def hv(server: Evil, *arguments: str, seconds: float = 60) -> tuple[int, str, int]:
    """Exit code, all that was said, and the peak of memory in bytes."""
    code = (
        "import sys; from hyperd.cli.main import main; code = main();"
        # After a fork, ru_maxrss begins with what this process has had.
        "peak = open('/proc/self/status').read().partition('VmHWM:')[2].split()[0];"
        "print('PEAK', peak, file=sys.stderr); sys.exit(code)"
    )
    env = {"PATH": os.environ["PATH"], "HYPERD_SOCKET": str(server.path), "HOME": "/nonexistent"}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, env=env, cwd=ROOT, check=False,
    )  # fmt: skip
    err, _, peak = done.stderr.decode().rpartition("PEAK ")
    return done.returncode, done.stdout.decode("utf-8", "replace") + err, int(peak or 0) << 10


@pytest.mark.parametrize("path", ANSWERS, ids=lambda path: path.name)
def test_no_answer_brings_a_command_down(
    path: Path, evil: Callable[[Callable[[socket.socket], None]], Evil]
) -> None:
    server = evil(lambda connection: connection.sendall(answer_of(path)))
    first = ANSWERS.index(path)
    # Each answer to some commands, each command to many answers: a process costs half a second.
    for command in (COMMANDS[(first + step) % len(COMMANDS)] for step in (0, 3, 7)):
        code, said, _ = hv(server, *command)
        assert code in (0, 1), (command, said)
        assert "Traceback" not in said, (command, said)
        assert "defect" not in said, (command, said)
        if command[0] not in ("curl", "log", "disk"):
            assert not any(sanitize.hostile(char) for char in said if char not in "\r\n\t"), (command, said)


@pytest.mark.parametrize("command", [("gc",), ("registry", "gc"), ("registry", "gc", "--run")])
def test_no_count_of_a_home_reaches_the_terminal_as_it_is(
    command: tuple[str, ...], evil: Callable[[Callable[[socket.socket], None]], Evil]
) -> None:
    answer = answer_of(CORPUS / "gc-with-escapes.json")
    _, said, _ = hv(evil(lambda connection: connection.sendall(answer)), *command)
    assert said
    assert not any(sanitize.hostile(char) for char in said if char not in "\r\n\t"), said


def _endless(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(b"[" * (1 << 20))


def _values(connection: socket.socket) -> None:
    body = b'{"items":[' + b"{}," * (12 << 20) + b"{}]}"
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def _huge_head(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X: " + b"y" * 65536 + b"\r\n")


@pytest.mark.parametrize("speak", [_endless, _values, _huge_head])
@pytest.mark.parametrize("command", [("get", "vm"), ("get", "vm", "-o", "json"), ("get", "vm", "-w")])
def test_an_answer_without_end_does_not_take_the_memory(
    speak: Callable[[socket.socket], None],
    command: tuple[str, ...],
    evil: Callable[[Callable[[socket.socket], None]], Evil],
) -> None:
    code, said, peak = hv(evil(speak), *command)
    assert code == 1, said
    assert "defect" not in said
    assert peak < _MOST_MEMORY


def test_a_watch_of_a_server_that_is_dead_ends(
    evil: Callable[[Callable[[socket.socket], None]], Evil],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It takes connections and answers a list and a watch, and says nothing from then on."""
    listed = b'{"kind":"Table","metadata":{"resourceVersion":"1"},"columnDefinitions":[],"rows":[]}'
    heads = iter((b"Content-Length: %d\r\n\r\n%s" % (len(listed), listed), b"\r\n"))
    gone = threading.Event()

    def speak(connection: socket.socket) -> None:
        if head := next(heads, b""):
            connection.sendall(b"HTTP/1.1 200 OK\r\n" + head)
        gone.wait(30)

    monkeypatch.setattr("hyperd.client.sync.SILENCE_SECONDS", 0.2)
    monkeypatch.setattr("hyperd.client.sync.ANSWER_SECONDS", 0.5)
    server = evil(speak)
    assert main(["get", "vm", "-w", "--socket", str(server.path)]) == 1
    gone.set()
    assert "does not answer" in capsys.readouterr().err


def _row(number: int, cell: str = "x") -> dict[str, object]:
    return {"cells": [f"vm{number}", cell], "object": {"metadata": {"name": f"vm{number}", "namespace": "shop"}}}


def test_rows_without_end_do_not_take_the_memory_of_a_screen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hyperd.cli.watch._MOST_HELD", 100_000)
    machines = next(resource for resource in built_in() if resource.plural == "virtualmachines")
    args = argparse.Namespace(all_namespaces=False, field_selector="", output="", selector="")
    screen = Screen(args, Client(local("/nonexistent")), machines, "")
    columns = [{"name": "Name"}, {"name": "Phase"}]
    screen.fill({"kind": "Table", "metadata": {"resourceVersion": "1"}, "columnDefinitions": columns})
    for number in range(200):
        screen.take({"type": "ADDED", "object": {"kind": "Table", "rows": [_row(number, "y" * (1 << 20))]}})
    shown = capsys.readouterr().out.rsplit("\x1b[H", 1)[-1]
    assert "and more than hv keeps: narrow it" in shown
    assert len(shown) < 100_000
    for number in range(200):
        screen.take({"type": "DELETED", "object": {"kind": "Table", "rows": [_row(number)]}})
    screen.take({"type": "ADDED", "object": {"kind": "Table", "rows": [_row(7)]}})
    assert "vm7" in capsys.readouterr().out.rsplit("\x1b[H", 1)[-1]


def test_an_answer_that_trickles_in_is_not_waited_for(
    evil: Callable[[Callable[[socket.socket], None]], Evil],
) -> None:
    sent = 0

    def slowly(connection: socket.socket, pieces: Iterable[bytes]) -> None:
        nonlocal sent
        for piece in pieces:
            connection.sendall(piece)
            sent += 1
            time.sleep(0.05)

    def trickle(connection: socket.socket) -> None:
        slowly(connection, (b"HTTP/1.1 200 OK\r\n\r\n", *[b"["] * 200))

    def trickling_head(connection: socket.socket) -> None:
        slowly(connection, (bytes((byte,)) for byte in b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200))

    for speak in (trickle, trickling_head):
        sent = 0
        with pytest.raises((TimeoutError, ConnectionLost)):
            Connection(local(str(evil(speak).path)), timeout=0.5).request("GET", "/").body()
        assert sent < 100
