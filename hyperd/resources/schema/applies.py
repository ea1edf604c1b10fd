"""What a change of a field does to an object that is already there.

Each field of a spec carries one mark in its annotation, or inherits it from the field that it is in:
``cores: Annotated[int, RESTART]``. From it follow which changes wait for a restart, what admission and CEL refuse,
and what the field's description says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, TypeAlias, get_args, get_origin

from hyperd.resources.schema.rule import Rule

if TYPE_CHECKING:
    from pydantic import BaseModel

SPEC: Final = "spec"


@dataclass(frozen=True)
class Live:
    """At once, or when it next matters: nothing waits for it."""

    template: bool = False
    """What is below is another object's to be: its own fields say what a change does there."""

    def __str__(self) -> str:
        return "live"

    @property
    def sentence(self) -> str:
        return ""


@dataclass(frozen=True)
class Restart:
    """With the next instance; until then ``status.restartAwaitingChanges`` names it."""

    listed: bool = True
    """Whether ``restartAwaitingChanges`` names it: the reference does not list every change that waits."""
    live: str = ""
    """What of a change is live all the same, and where: a sentence."""

    def __str__(self) -> str:
        more = [] if self.listed else ["not listed"]
        more += ["in part live"] if self.live else []
        return f"restart ({', '.join(more)})" if more else "restart"

    @property
    def sentence(self) -> str:
        if not self.listed:
            return "A change takes effect at the next start."
        if self.live:
            return f"{self.live} Any other change waits for a restart."
        return "A change waits for a restart."


@dataclass(frozen=True)
class NeverAfter:
    """Not any more in ``phases``, or once ``status.{once}`` is set; before that it is live.

    Where neither is given it is fixed from the creation on, which CEL can say: a kube-apiserver then refuses by
    itself. All else is admission's.
    """

    message: str
    """What to say to who tries; ``{name}`` is that field of the status."""
    phases: tuple[str, ...] = ()
    once: str = ""
    unset: str = ""
    """Field of the status that says what a field left out means."""
    unless: Callable[[Mapping[str, Any], Mapping[str, Any]], bool] | None = None
    """``unless(new spec, status)``: a change that is harmless."""
    but: str = ""
    """That change in words: ``to …``."""

    @property
    def from_creation(self) -> bool:
        return not self.phases and not self.once

    def __str__(self) -> str:
        return f"never-after({', '.join(self.phases) or self.once or 'creation'})"

    @property
    def sentence(self) -> str:
        if self.once:
            when = f" once status.{self.once} is set"
        elif self.phases:
            when = f" in {' and '.join(filter(None, (', '.join(self.phases[:-1]), self.phases[-1])))}"
        else:
            when = ""
        return f"It cannot be changed{when}{', but ' if self.but else ''}{self.but}."


Applies: TypeAlias = Live | Restart | NeverAfter

LIVE: Final = Live()
TEMPLATE: Final = Live(template=True)
RESTART: Final = Restart()
UNLISTED: Final = Restart(listed=False)


class Field(NamedTuple):
    """A field of a spec: its path as ``Rule`` writes it, what a change does, and whether it says so itself."""

    path: str
    applies: Applies
    own: bool


def fields(model: type[BaseModel]) -> Iterator[Field]:
    """The spec of ``model``, if it has one, and every field in it, each before what is below it.

    Raises TypeError for one that is marked twice, or neither itself nor around it.
    """
    if SPEC in model.model_fields:
        yield from _field(model, SPEC, SPEC, None)


def _field(model: type[BaseModel], name: str, path: str, inherited: Applies | None) -> Iterator[Field]:
    info = model.model_fields[name]
    marks = [*_marks(info.metadata), *_marks_of(info.annotation)]
    if len(marks) > 1:
        raise TypeError(f"{model.__name__}.{name} says more than once what a change of it does.")
    if path.count("[]") == 0 and path.count(".") == 1 and not marks and inherited is None:
        raise TypeError(f"{model.__name__}.{name} does not say what a change of it does.")
    applies = marks[0] if marks else inherited
    if applies is not None:
        yield Field(path, applies, bool(marks))
    if isinstance(applies, Live) and applies.template:
        return
    inner, listed = _inner(info.annotation)
    if inner is not None:
        for field, more in inner.model_fields.items():
            yield from _field(inner, field, f"{path}{'[]' * listed}.{more.alias or field}", applies)


def _marks(metadata: Any) -> list[Applies]:
    return [mark for mark in metadata if isinstance(mark, Live | Restart | NeverAfter)]


def _marks_of(annotation: Any) -> list[Applies]:
    """Of what stands within a union: ``Annotated[..., RESTART] | None``."""
    if get_origin(annotation) in (list, dict):
        return []
    found = _marks(annotation.__metadata__) if get_origin(annotation) is Annotated else []
    return [*found, *(mark for part in get_args(annotation) for mark in _marks_of(part))]


def _inner(annotation: Any) -> tuple[type[BaseModel] | None, int]:
    """The model that the JSON of ``annotation`` has, and how many lists it is in."""
    if isinstance(annotation, type) and hasattr(annotation, "model_fields"):
        return annotation, 0
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is list:
        model, depth = _inner(args[0])
        return model, depth + 1
    if origin is dict:
        return None, 0
    for part in args[:1] if origin is Annotated else args:
        model, depth = _inner(part)
        if model is not None:
            return model, depth
    return None, 0


def immutability(found: Iterable[Field]) -> tuple[Rule, ...]:
    """The rules of what is fixed from the creation on."""
    return tuple(
        Rule(
            path=field.path,
            message=field.applies.message,
            cel="self == oldSelf",
            holds=lambda value, old: bool(value == old),
            transition=True,
        )
        for field in found
        if field.own and isinstance(field.applies, NeverAfter) and field.applies.from_creation
    )
