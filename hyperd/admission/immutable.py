"""What of a spec can no longer be changed, as its fields say (``NeverAfter`` of ``resources.schema.applies``)."""

from __future__ import annotations

from collections.abc import Mapping

from hyperd.admission.context import Context, said
from hyperd.resources.schema.applies import NeverAfter
from hyperd.resources.schema.kind import Kind
from hyperd.resources.values.jsonpath import value_at


def fixed(kind: Kind) -> list[tuple[str, NeverAfter]]:
    """What of ``kind`` becomes fixed later than at its creation, which is the schema's own rule."""
    return [
        (path, applies)
        for path, applies, own in kind.fields
        if own and isinstance(applies, NeverAfter) and not applies.from_creation
    ]


def check(context: Context) -> None:
    """Refuse a change of what is fixed by now."""
    if context.old is None:
        return
    status: Mapping[str, object] = context.old.get("status") or {}
    for path, applies in fixed(context.request.kind):
        if context.phase not in applies.phases and not status.get(applies.once):
            continue
        before, now = value_at(context.old, path), value_at(context.new, path)
        if applies.unset:
            before = before or status.get(applies.unset)
            now = now or before
        if said(now) == said(before) or (applies.unless and applies.unless(context.spec, status)):
            continue
        context.forbidden(path, applies.message.format_map(status))
