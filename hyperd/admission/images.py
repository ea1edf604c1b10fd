"""Rules that images of both scopes and disks share."""

from __future__ import annotations

from hyperd.admission.context import Context


def check_name(context: Context) -> None:
    """No dots: the name becomes part of names that allow none. Old objects with dots only get a warning."""
    name = context.request.name
    if "." not in name:
        return
    text = f'the name of a {context.request.kind.kind} must not contain "."'
    if context.creating:
        context.invalid("metadata.name", name, text)
    else:
        context.warn(f"metadata.name: {text}")


def check_source(context: Context) -> None:
    """A source without a type would wait for ever."""
    source = context.spec.get("dataSource")
    if source is not None and "type" not in source:
        context.required("spec.dataSource.type", "one of HTTP, ContainerImage, ObjectRef, Upload")
