"""A host and its guests, each in a network namespace of its own, joined by real taps."""

from __future__ import annotations

import ctypes
import os
import select
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hyperd.network import tun

_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000


def _check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@contextmanager
def fresh_namespace() -> Iterator[None]:
    """Put this thread, and all threads it starts meanwhile, into an empty network namespace."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_LIBC.unshare(_CLONE_NEWNET))
        try:
            run("ip", "link", "set", "lo", "up")
            # A new namespace inherits these from the machine; the taps must not depend on its choice.
            run("sysctl", "-w", "net.ipv4.ip_forward=0", "net.ipv4.conf.all.rp_filter=0")
            yield
        finally:
            _check(_LIBC.setns(before, _CLONE_NEWNET))
    finally:
        os.close(before)


@contextmanager
def held_namespace() -> Iterator[int]:
    """The process that holds a network namespace beside this thread's, as a Pod's is held."""
    with subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "ip link set lo up && echo ready && exec cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        try:
            yield holder.pid
        finally:
            holder.kill()


def run(*argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, check=check, capture_output=True, text=True, timeout=30)


_CLASSFUL = "ip route replace default via $router\n"
_CLASSLESS = """set -- $staticroutes
while [ $# -ge 2 ]; do
    if [ "$2" = 0.0.0.0 ]; then ip route replace "$1" dev eth0; else ip route replace "$1" via "$2" dev eth0; fi
    shift 2
done
"""


class Guest:
    """A machine behind a tap: a namespace whose eth0 is joined, frame by frame, to the host's tap."""

    def __init__(self, tap: str, *, mac: str) -> None:
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo ready; exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        self._holder.stdout.readline()
        self._wake, self._waker = os.pipe()
        joined = threading.Event()
        self._failed: list[OSError] = []
        self._pump = threading.Thread(target=self._run, args=(tap, joined))
        self._pump.start()
        joined.wait(10)
        assert not self._failed, self._failed
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "link", "set", "eth0", "address", mac, "up")

    def _run(self, tap: str, joined: threading.Event) -> None:
        try:
            with tun.opened(tap) as outer:
                namespace = os.open(f"/proc/{self._holder.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
                try:
                    _check(_LIBC.setns(namespace, _CLONE_NEWNET))
                finally:
                    os.close(namespace)
                with tun.opened("eth0") as inner:
                    joined.set()
                    self._copy(outer, inner)
        except OSError as error:
            self._failed.append(error)
            joined.set()

    def _copy(self, outer: int, inner: int) -> None:
        while True:
            ready, _, _ = select.select([outer, inner, self._wake], [], [])
            if self._wake in ready:
                return
            for source, sink in ((outer, inner), (inner, outer)):
                if source in ready:
                    try:
                        frame = os.read(source, 65536)
                    except OSError:
                        return  # the tap was removed: the cable is cut
                    with suppress(OSError):  # a card that is down takes none
                        os.write(sink, frame)

    def run(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return run("nsenter", f"--net=/proc/{self._holder.pid}/ns/net", "--", *argv, check=check)

    def start(self, *argv: str, stdin: int | None = None) -> subprocess.Popen[str]:
        """A process in the guest, for the test to end."""
        inside = ("nsenter", f"--net=/proc/{self._holder.pid}/ns/net", "--", *argv)
        return subprocess.Popen(inside, stdin=stdin, stdout=subprocess.PIPE, text=True)

    def configure(self, address: str, gateway: str) -> None:
        """A static address, as DHCP would give it."""
        self.run("ip", "address", "replace", address, "dev", "eth0")
        self.run("ip", "route", "replace", "default", "via", gateway)

    def pings(self, address: str, *options: str) -> bool:
        return self.run("busybox", "ping", "-c", "1", "-W", "2", *options, address, check=False).returncode == 0

    def dhcp(self, folder: Path, *, classless: bool = False) -> dict[str, str]:
        """Ask for a lease once, with a real client, and apply it; what it was told, empty without an answer.

        ``classless`` is whether it knows of classless routes; then it takes those instead of the router.
        """
        told = folder / "lease"
        script = folder / "script"
        script.write_text(
            "#!/bin/sh\n"
            f'[ "$1" = bound ] || exit 0\nenv > {told}\n'
            "ip address replace $ip/$mask dev eth0\n"
            f"{_CLASSLESS if classless else _CLASSFUL}"
            "ip link set eth0 mtu $mtu\n"
        )
        script.chmod(0o755)
        told.unlink(missing_ok=True)
        client = ["busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "2", "-T", "1", "-s", str(script)]
        asked = ("-O", "staticroutes") if classless else ()
        self.run(*client, *asked, "-O", "mtu", "-x", "hostname:guest", check=False)
        if not told.exists():
            return {}
        return dict(line.split("=", 1) for line in told.read_text().splitlines() if "=" in line)

    def close(self) -> None:
        os.write(self._waker, b"x")
        self._pump.join(10)
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        self._holder.stdin.close()
        self._holder.wait(10)
        self._holder.stdout.close()
        os.close(self._wake)
        os.close(self._waker)
