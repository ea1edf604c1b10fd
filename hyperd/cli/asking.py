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
        print("\nNobody answered, so this is not done. Use -y to skip the question.", file=sys.stderr)
        return None
    if answer.strip().lower() in ("y", "yes"):
        return True
    print("This is not done. Use -y to skip the question.", file=sys.stderr)
    return False
