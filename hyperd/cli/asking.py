"""Questions on the terminal before something is lost."""

from __future__ import annotations

import sys

from hyperd.client import sanitize


def confirmed(question: str) -> bool | None:
    """Ask; anything but ``y`` means no, and None that nobody answered."""
    print(f"{sanitize.text(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    try:
        answer = sys.stdin.readline()
    except OSError:
        answer = ""
    if not answer:
        print("\nNot done, as nobody answered; -y does not ask.", file=sys.stderr)
        return None
    if answer.strip().lower() in ("y", "yes"):
        return True
    print("Skipped; -y does not ask.", file=sys.stderr)
    return False
