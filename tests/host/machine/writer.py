"""A guest that writes to one of its disks all the time, and can say whether the disk holds what it wrote.

As fsx does it, with what busybox has: each block that is written goes to a file in the guest's memory too; at the
end both are compared with nothing cached.
"""

from __future__ import annotations

import base64
import gzip

from tests.host.running import Console

BLOCKS = 512
"""Of 4 KiB: what is written to."""

_WRITER = f"""
d=$1 n=0
dd if=/dev/zero of=/tmp/model bs=4k count={BLOCKS}
dd if=/tmp/model of=$d bs=4k conv=notrunc,fsync
while [ ! -e /tmp/enough ]; do
 n=$((n+1)); b=$(((n*7919+n/13)%{BLOCKS}))
 yes $n-$b | dd of=/tmp/block bs=4k count=1 iflag=fullblock
 dd if=/tmp/block of=/tmp/model bs=4k seek=$b conv=notrunc
 dd if=/tmp/block of=$d bs=4k seek=$b conv=notrunc,fsync || {{ echo write $b >> /tmp/bad; break; }}
 echo $n > /tmp/written
done
echo 3 > /proc/sys/vm/drop_caches
dd if=$d of=/tmp/held bs=4k count={BLOCKS}
cmp /tmp/held /tmp/model || echo differs >> /tmp/bad
touch /tmp/ended
"""
_WRITTEN = "$(cat /tmp/written 2>/dev/null || echo 0)"


class Writer:
    """The one that runs in a guest, behind a console that is logged in. ``begun`` on ``/dev/sda``, say."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @classmethod
    def begun(cls, console: Console, device: str) -> Writer:
        """One that writes already."""
        packed = base64.b64encode(gzip.compress(_WRITER.encode())).decode()
        console.run(f"echo {packed} | base64 -d | gunzip > /tmp/writer")
        console.run("rm -f /tmp/enough /tmp/bad /tmp/ended /tmp/written")
        console.run(f"{{ sh /tmp/writer {device} >/dev/null 2>&1 & }}")
        writer = cls(console)
        writer.go_on()
        return writer

    def go_on(self, blocks: int = 20) -> None:
        """Return after so many more blocks: what was done meanwhile, was done under writes."""
        self._console.run(
            f'a={_WRITTEN}; while [ ! -e /tmp/ended ] && [ "{_WRITTEN}" -lt $((a+{blocks})) ]; do sleep 0.1; done',
            timeout=120,
        )

    def end(self) -> str:
        """Stop writing; what is wrong with the disk, empty when it holds what was written."""
        self._console.run("touch /tmp/enough; while [ ! -e /tmp/ended ]; do sleep 0.1; done", timeout=120)
        return told(self._console.run("echo '<'$(cat /tmp/bad 2>/dev/null)'>'"))


def device_of(console: Console, serial: str, *, there: bool = True) -> str:
    """The disk (``/dev/sdc``) that has a serial; the guest is given time to see it come, or go.

    Empty when it does not see it.
    """
    return told(
        console.run(
            "i=0; while :; do f=; for s in /sys/block/s[dr]*; do "
            f"grep -q {serial} $s/device/vpd_pg80 2>/dev/null && f=/dev/${{s##*/}}; done; "
            f'[ {"-n" if there else "-z"} "$f" ] && break; i=$((i+1)); [ $i -gt 100 ] && break; sleep 0.2; done; '
            "echo '<'$f'>'",
            timeout=120,
        )
    )


def told(output: str) -> str:
    """What a command wrote between ``<`` and ``>``, behind its own echo."""
    line = output[output.rindex("\n<") + 2 :]
    return line[: line.index(">")]
