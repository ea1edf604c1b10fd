"""A TCP session with a guest that echoes: how long it stood still at the most, told while it goes on.

python session.py OWN-ADDRESS GUEST PORT: a line for each stop of more than a tenth of a second, and each second.
"""

from __future__ import annotations

import socket
import sys
import time

_PAUSE_SECONDS = 0.02
_TOLD_SECONDS = 0.1


def main(own: str, guest: str, port: int) -> None:
    with socket.create_connection((guest, port), 10, (own, 0)) as session:
        session.settimeout(60)
        longest, last, told, number = 0.0, time.monotonic(), 0.0, 0
        while True:
            sent = b"%08d" % number
            session.sendall(sent)
            said = b""
            while len(said) < len(sent):
                piece = session.recv(len(sent) - len(said))
                if not piece:
                    raise ConnectionError("the session has ended")
                said += piece
            assert said == sent
            now = time.monotonic()
            stood, last, number = now - last, now, number + 1
            if stood > max(longest, _TOLD_SECONDS) or now - told > 1:
                told = now
                print(number, f"{max(stood, longest):.2f}", flush=True)
            longest = max(longest, stood)
            time.sleep(_PAUSE_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
