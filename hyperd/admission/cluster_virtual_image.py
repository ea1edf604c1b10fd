"""Rules of ClusterVirtualImage."""

from __future__ import annotations

from hyperd.admission.context import Context
from hyperd.admission.images import PROVISIONED_PHASES, check_name


async def review(context: Context) -> None:
    """Once the image is there, nothing of its spec changes."""
    check_name(context)
    if not context.creating and context.spec_changed and context.phase in PROVISIONED_PHASES:
        context.forbidden(
            "spec",
            f"ClusterVirtualImage is in a {context.phase} state: configuration changes are not available",
        )
