"""Ports on loopback: whose program is at the other end."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from hyperd.client import forwarding, peers
from hyperd.client.websocket import WebSocket

NOBODY = 65534


@pytest.fixture(params=["127.0.0.1", "::1"])
def listener(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    with forwarding.listen(request.param, 0) as made:
        yield made


def refused() -> WebSocket:
    raise AssertionError("a stranger's connection was carried")


def test_the_user_at_the_other_end_is_known(listener: socket.socket) -> None:
    with socket.create_connection(listener.getsockname()[:2]) as client:
        connection, _ = listener.accept()
        with connection:
            assert peers.owner(connection) == os.getuid()
            assert peers.stranger(connection) == ""
            client.shutdown(socket.SHUT_WR)
            assert peers.owner(connection) == os.getuid()
            client.close()
            assert peers.owner(connection) is None, "the kernel calls it root's"
            assert "gone" in peers.stranger(connection)


def test_a_socket_of_six_is_known_at_an_address_of_four() -> None:
    with forwarding.listen("127.0.0.1", 0) as listener, socket.socket(socket.AF_INET6) as client:
        client.connect(("::ffff:127.0.0.1", listener.getsockname()[1]))
        connection, _ = listener.accept()
        with connection:
            assert peers.owner(connection) == os.getuid()


@pytest.mark.parametrize(
    ("uid", "sudo", "may"), [(0, "", True), (1000, "", False), (1000, "1000", True), (1000, "1001", False)]
)
def test_root_and_who_called_sudo_may(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket, uid: int, sudo: str, may: bool
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setattr(peers, "owner", lambda _: uid)
    monkeypatch.setenv("SUDO_UID", sudo)
    assert (peers.stranger(listener) == "") is may


def test_who_is_nobody_s_sudo_gets_nothing_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1001)
    monkeypatch.setattr(peers, "owner", lambda _: 1000)
    monkeypatch.setenv("SUDO_UID", "1000")
    assert "user 1000 of this host was refused" in peers.stranger(listener)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_another_user_s_connection_is_closed_before_the_machine_is_asked(listener: socket.socket) -> None:
    said: list[str] = []
    forward = forwarding.Forward(listener, refused, said.append)
    listener.settimeout(20)
    code = (
        "import os, socket, sys; address, port, family, uid = sys.argv[1:]; os.setuid(int(uid))\n"
        "client = socket.socket(int(family)); client.connect((address, int(port))); print(client.recv(1))"
    )
    where = [str(word) for word in (*listener.getsockname()[:2], int(listener.family), NOBODY)]
    process = subprocess.Popen([sys.executable, "-I", "-c", code, *where], stdout=subprocess.PIPE)
    with process:
        forward.accept()
        assert process.communicate(timeout=20)[0] == b"b''\n"
    assert said == [f"The user {NOBODY} of this host was refused: the port is for programs of your own."]


def test_a_port_that_was_opened_to_all_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "stranger", lambda _: "no")
    for address, all_users, answer in (
        ("127.0.0.1", False, False),
        ("127.0.0.1", True, True),
        ("0.0.0.0", False, True),
    ):
        with forwarding.listen(address, 0) as listener:
            assert forwarding.Forward(listener, refused, print, all_users=all_users)._guarded is not answer
