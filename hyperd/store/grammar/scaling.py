"""What a write to ``scale`` does to the object behind it, and to who owns its ``spec.replicas``."""

from __future__ import annotations

from hyperd.errors import BadRequest, NotFound
from hyperd.jsontypes import Json
from hyperd.resources.core.scale import SCALE, counts, scale_of
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.schema.metadata import prune_metadata, type_faults
from hyperd.resources.schema.structural import prune, validate
from hyperd.store.grammar.fields.managers import UPDATE, Managers, Owned, decoded, encoded
from hyperd.store.grammar.fields.sets import difference, has, named, of_path
from hyperd.store.grammar.fields.tracking import FIELD

_REPLICAS = (named("spec"), named("replicas"))
_OWNED = of_path(_REPLICAS)


def shown(kind: Kind, obj: Object) -> Object:
    """The Scale of ``obj``, for a reader. Raises NotFound where there is no number to show."""
    if not counts(obj):
        name = obj["metadata"]["name"]
        raise NotFound(
            f'the spec replicas field ".spec.replicas" of {kind.qualified_resource} "{name}" does not exist',
            kind=kind.plural,
            group=kind.group,
            name=name,
        )
    return scale_of(obj)


def owned_scale(kind: Kind, obj: Object) -> Object:
    """The Scale of ``obj`` with the entries of those that own the number."""
    scale = scale_of(obj)
    managers = {
        who._replace(api_version=SCALE.api_version if who.operation == UPDATE else ""): Owned(
            _OWNED, SCALE.api_version, owned.time
        )
        for who, owned in _managers(obj).items()
        if owned.api_version == kind.api_version and has(owned.fields, _REPLICAS)
    }
    if managers:
        scale["metadata"][FIELD] = encoded(managers)
    return scale


def checked(scale: Json) -> tuple[Object, list[str]]:
    """``scale`` as a client sent it, as a copy in the form of ``scale_of``, and what is unknown in it.

    Raises BadRequest for what is no Scale.
    """
    if not isinstance(scale, dict):
        raise BadRequest("the object provided is unrecognized: it must be a Scale of autoscaling/v1")
    made: Object = {"apiVersion": SCALE.api_version, "kind": SCALE.kind, **scale}
    for part in ("metadata", "spec", "status"):
        content = made.get(part)
        if not isinstance(content, dict | None):
            raise BadRequest(f"the object provided is unrecognized: {part} must be an object")
        made[part] = dict(content or {})
    if (made["apiVersion"], made["kind"]) != (SCALE.api_version, SCALE.kind):
        raise BadRequest(
            f"the object provided is a {str(made['kind'])[:64]} of {str(made['apiVersion'])[:64]}; "
            f"it must be a {SCALE.kind} of {SCALE.api_version}"
        )
    unknown = prune(SCALE.schema, made)
    unknown += [f'unknown field "metadata.{name}"' for name in prune_metadata(made["metadata"])]
    if made["spec"].get("replicas") is None:
        made["spec"].pop("replicas", None)
    if faults := [*type_faults(made["metadata"]), *validate(SCALE.schema, made)]:
        raise BadRequest(
            f'Scale in version "v1" cannot be handled as a Scale: {faults[0].field}: {faults[0].message}'
        )
    return made, unknown


def rescaled(kind: Kind, obj: Object, scale: Object) -> Object:
    """``obj`` with the number, the version and the owners that ``scale`` says.

    Raises BadRequest where neither of them says a number.
    """
    wanted = scale["spec"].get("replicas")
    if wanted is None and not counts(obj):
        raise BadRequest('the spec replicas field ".spec.replicas" cannot be empty')
    meta = {**obj["metadata"]}
    for name in ("name", "uid", "resourceVersion"):
        if scale["metadata"].get(name):
            meta[name] = scale["metadata"][name]
    entries = encoded(_owners(kind, _managers(obj), decoded(scale["metadata"].get(FIELD))))
    meta.pop(FIELD, None)
    if entries:
        meta[FIELD] = entries
    # As for any number that Go leaves out: none is 0.
    return {**obj, "metadata": meta, "spec": {**(obj.get("spec") or {}), "replicas": wanted or 0}}


def _managers(obj: Object) -> Managers:
    return decoded(obj["metadata"].get(FIELD))


def _owners(kind: Kind, parents: Managers, scales: Managers) -> Managers:
    """The entries of the object, after the owners of the number became those of the Scale."""
    owners: Managers = {}
    kept = {who._replace(api_version="") for who in scales}
    for who, owned in parents.items():
        if owned.api_version == kind.api_version and has(owned.fields, _REPLICAS):
            if who._replace(api_version="") in kept:
                kept.discard(who._replace(api_version=""))
            else:
                fields = difference(owned.fields, _OWNED)
                if not fields:
                    continue
                owned = Owned(fields, owned.api_version, owned.time)
        owners[who] = owned
    for who in kept:
        # Since when is not told of it, as in a kube-apiserver.
        version = kind.api_version if who.operation == UPDATE else ""
        owners[who._replace(api_version=version)] = Owned(_OWNED, kind.api_version)
    return owners
