"""Services are kept for who asks for them; on one machine nothing serves them yet."""

from __future__ import annotations

from hyperd.admission.context import Context

NOT_SERVED = (
    "Services are kept and not served yet on one machine: nothing answers on their addresses, ports and names. "
    "Reach machines by their own addresses."
)


async def review(context: Context) -> None:
    """Say at create that nothing comes of it."""
    if context.creating:
        context.warn(NOT_SERVED)
