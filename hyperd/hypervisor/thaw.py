"""Thaws one guest when who froze it is gone, or takes longer than it said: ``-m hyperd.hypervisor.thaw``.

A frozen guest's writes wait for ever, and nothing but a thaw ends that. So before anything is frozen this process
is started, which outlives the daemon. It is told by its standard input: a byte says that the guest was thawed; its
end, which comes with a killed daemon's too, that nobody else will. It asks for as long as the guest is there: an
agent that hangs may go on any time. Of those that wait for one guest that long, one stays.
"""

from __future__ import annotations

import select
import socket
import sys
import time
from typing import Final

SOON_SECONDS: Final = 120.0
"""How long it asks twice a second; then every ``_LATER_SECONDS``."""
_AGAIN_SECONDS: Final = 0.5
_LATER_SECONDS: Final = 15.0
LOST_SECONDS: Final = 3600.0
"""So long libvirt may be away; then it is gone, and its guests with it."""


def main(uri: str, uid: str, seconds: str) -> int:
    """0 once there is nothing to do, 1 where another process goes on with it."""
    readable, _, _ = select.select([0], [], [], float(seconds))
    if readable and sys.stdin.buffer.read(1):
        return 0
    return insist(uri, uid)


def insist(uri: str, uid: str) -> int:
    """Ask until the guest is thawed or gone; see ``main``."""
    until, alone, runs = time.monotonic() + SOON_SECONDS, None, set[int]()
    seen = time.monotonic()
    while (thawed := _thawed(uri, uid, runs)) is not True:
        seen = seen if thawed is None else time.monotonic()
        if time.monotonic() - seen > LOST_SECONDS:
            return 1
        if time.monotonic() < until:
            time.sleep(_AGAIN_SECONDS)
            continue
        if alone is None and (alone := _claim(uid)) is None:
            return 1
        time.sleep(_LATER_SECONDS)
    return 0


def _claim(uid: str) -> socket.socket | None:
    """A name that one process of this host has; None where another has it."""
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0hyperd-thaw-{uid}")
    except OSError:
        claim.close()
        return None
    return claim


def _thawed(uri: str, uid: str, runs: set[int]) -> bool | None:
    """None where libvirt does not answer.

    ``runs`` are libvirt's numbers of the guest's QEMUs so far: another one has frozen nothing.
    """
    import libvirt

    libvirt.registerErrorHandler(lambda *_: None, None)
    try:
        conn = libvirt.open(uri)
    except libvirt.libvirtError:
        return None
    try:
        try:
            dom = conn.lookupByUUIDString(uid)
            runs.add(dom.ID())
            if len(runs) == 1:
                dom.fsThaw()
        finally:
            conn.close()
    except libvirt.libvirtError as err:
        return err.get_error_code() in (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID)
    return True


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
