"""No test of these rooms may block its event loop, or keep it for long."""

from __future__ import annotations

from tests.loopguard import loop_guard, short_callbacks

__all__ = ["loop_guard", "short_callbacks"]
