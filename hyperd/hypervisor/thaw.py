"""Thaws one guest when who froze it is gone, or takes longer than it said: ``-m hyperd.hypervisor.thaw``.

A frozen guest's writes wait for ever, and nothing but a thaw ends that. So before anything is frozen this process
is started, which outlives the daemon. It is told by its standard input: a byte says that the guest was thawed; its
end, which comes with a killed daemon's too, that nobody else will.
"""

from __future__ import annotations

import select
import sys
import time
from typing import Final

GIVE_UP_SECONDS: Final = 120.0
_AGAIN_SECONDS: Final = 0.5


def main(uri: str, uid: str, seconds: str) -> int:
    """0 once the guest is thawed or gone."""
    readable, _, _ = select.select([0], [], [], float(seconds))
    if readable and sys.stdin.buffer.read(1):
        return 0
    until = time.monotonic() + GIVE_UP_SECONDS
    while not _thawed(uri, uid):
        if time.monotonic() > until:
            return 1
        time.sleep(_AGAIN_SECONDS)
    return 0


def _thawed(uri: str, uid: str) -> bool:
    import libvirt

    libvirt.registerErrorHandler(lambda *_: None, None)
    try:
        conn = libvirt.open(uri)
        try:
            conn.lookupByUUIDString(uid).fsThaw()
        finally:
            conn.close()
    except libvirt.libvirtError as err:
        return err.get_error_code() in (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID)
    return True


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
