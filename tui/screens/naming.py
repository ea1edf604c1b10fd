"""What a word on the command line names: ``web-7``, ``shop/web-7`` or ``web-7.shop``."""

from __future__ import annotations

from collections.abc import Sequence

from hyperd.errors import BadRequest
from tui.action import Action, Target
from tui.desk import Desk
from tui.kind import Kind


def targets(desk: Desk, kinds: Sequence[Kind], action: Action, wanted: str) -> Target:
    """The one object that ``wanted`` names, of the list that is shown or else of the action's only kind.

    Raises BadRequest for none, and for several.
    """
    assert action.applies is not None  # noqa: S101  else nothing is named
    can = [kind for kind in kinds if action.applies(kind)]
    chosen = [desk.kind] if desk.kind in can and len(can) != 1 else can[:1] if len(can) == 1 else []
    found = [
        Target(kind, key, obj)
        for kind in chosen
        for key, obj in desk.fleet.objects(kind.plural).items()
        if wanted in (key.name, f"{key.namespace}/{key.name}", f"{key.name}.{key.namespace}")
    ]
    if len(found) > 1 and (here := desk.trail.namespace):
        found = [target for target in found if target.key.namespace == here] or found
    if len(found) == 1:
        return found[0]
    if found:
        places = ", ".join(desk.named(target.key) for target in found[:4])
        raise BadRequest(f"{wanted} is ambiguous: {places}; say namespace/name")
    raise BadRequest(f"no {wanted} among {chosen[0].title if chosen else 'such objects'}")
