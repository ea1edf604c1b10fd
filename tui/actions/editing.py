"""Changing an object in the user's editor: what was changed is checked by the home, shown, and then written."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hyperd.client import change, sanitize
from hyperd.client.editor import Draft, Unchanged, Unreadable
from hyperd.errors import BadRequest, Conflict, HyperdError, Invalid
from tui.action import Parameters, Target, action
from tui.desk import Desk
from tui.shelf import Object


async def _edit(desk: Desk, target: Target) -> None:
    key = target.key
    client, resource = desk.fleet.connected(key.home), desk.fleet.resources[target.kind.plural]
    original = change.editable(await client.get(resource, key.namespace or None, key.name))
    draft = Draft(original)
    try:
        said = await _written(desk, target, original, draft)
    except HyperdError as err:
        raise type(err)(f"{err.message}{await asyncio.to_thread(draft.kept)}") from err
    desk.say(said)


async def _written(desk: Desk, target: Target, original: Object, draft: Draft) -> str:
    """What came of it. Raises HyperdError."""
    key = target.key
    client, resource = desk.fleet.connected(key.home), desk.fleet.resources[target.kind.plural]
    namespace = key.namespace or None
    while True:
        try:
            wanted = await desk.hand_over(draft.edit)
        except Unchanged:
            refused = await asyncio.to_thread(draft.kept) if draft.complaint else ""
            return f"{key.name} is not changed{'.' if refused else ''}{refused}"
        except Unreadable as err:
            draft.complaint = sanitize.text(err.message)
            continue
        answer = "conflict"
        while answer == "conflict":
            live = await client.get(resource, namespace, key.name)
            if clashing := change.conflicts(original, wanted, change.editable(live)):
                raise Conflict(
                    f"Somebody else changed {', '.join(clashing)} of {key.name} meanwhile; edit it again."
                )
            patch = change.at_version(change.patch_of(original, wanted), live)
            try:
                checked, warnings = await client.patch(resource, namespace, key.name, patch, dry_run=True)
            except (Invalid, BadRequest) as err:
                draft.complaint, answer = _told(err), "edit"
                break
            except Conflict:
                continue  # somebody wrote in this moment, which may be no more than its status
            draft.complaint = ""
            answer = await _asked(desk, target, original, live, checked, warnings)
            if answer == "apply":
                try:
                    await client.patch(resource, namespace, key.name, patch)
                except Conflict:
                    answer = "conflict"  # what others wrote in this moment is shown too
        if answer == "apply":
            return f"{key.name} is changed"
        if answer != "edit":
            return f"{key.name} is not changed"


async def _asked(
    desk: Desk, target: Target, original: Object, live: Object, checked: Object, warnings: Sequence[str]
) -> str:
    """``apply``, ``edit`` or nothing."""
    from tui.screens.diff import Diff

    mine = list(change.differences(*change.veiled(change.editable(live), change.editable(checked))))
    theirs = list(change.differences(*change.veiled(original, change.editable(live))))
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    desk.push(Diff(desk.named(target.key), mine, theirs, warnings, answer))
    return await answer


def _told(err: Invalid | BadRequest) -> str:
    _, strict, what = err.message.rpartition("strict decoding error: ")
    causes = [] if strict else [f"{cause.field}: {cause.message}" for cause in err.causes]
    return sanitize.text("\n".join((what, *causes)))


def _begin(desk: Desk, targets: Sequence[Target], given: Parameters) -> None:
    desk.work(_edit(desk, targets[0]), "edit", opens=True)


ACTIONS = (
    action(
        "edit", "e", "edit", "change it in $EDITOR, look at the difference, write it", "Object", _begin,
        Parameters,
        words="edit", applies=lambda kind: kind.editable, needs=lambda plural: f"patch {plural}", footer=True,
    ),
)  # fmt: skip
