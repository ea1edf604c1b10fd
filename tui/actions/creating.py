"""Creating an object: a form of its kind, made from what the home says of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from hyperd.client.editor import through
from hyperd.errors import BadRequest
from tui.action import Parameters, Target, action
from tui.described import fields
from tui.desk import Desk
from tui.draft import Draft, Field, plain, put, words_at
from tui.making import Maker
from tui.recipe import Recipe
from tui.recipes import load
from tui.shelf import Key, Object

_NEVER = ("events", "nodes", "virtualmachinestats", "nodestats")
_DEFAULT_NAMESPACE = "default"


@dataclass(frozen=True)
class What(Parameters):
    """``kind`` by any word (the kind of the list, unless it is given), and in which ``home``."""

    kind: str = ""
    home: str = ""


async def _open(desk: Desk, plural: str, home: str) -> None:
    from tui.screens.wizard import Wizard

    resource = desk.fleet.resources.get(plural)
    if resource is None or plural in _NEVER:
        raise BadRequest(f"nobody creates {plural}")
    maker = Maker(desk.fleet.connected(home), desk.fleet.resources.values())
    described = {resource.kind: await maker.described(resource)}
    recipe = (await asyncio.to_thread(load)).get(plural) or Recipe(tuple(fields(described[resource.kind])), dict)
    metadata: Object = {"name": ""}
    if resource.namespaced:
        metadata["namespace"] = desk.trail.namespace or _DEFAULT_NAMESPACE
    draft = Draft([{"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}])
    if spec := recipe.begin():
        draft.main["spec"] = spec
    asked = [_name(recipe), *([_NAMESPACE] if resource.namespaced else []), *recipe.fields]
    for other in {field.kind for field in asked if field.kind}:
        known = next(each for each in desk.fleet.resources.values() if each.kind == other)
        described[other] = await maker.described(known)
    plurals = {plural for field in asked for plural in field.choices}
    names = await maker.names(plurals, metadata.get("namespace", ""))

    async def make(wanted: Draft) -> None:
        await _make(desk, maker, plural, home, wanted)

    async def edit(text: str) -> str:
        return await desk.hand_over(partial(through, text))

    where = f" in {home}" if len(desk.fleet.homes) > 1 else ""
    desk.push(Wizard(f"New {resource.kind}{where}", draft, asked, described, names, maker, make, edit))


async def _make(desk: Desk, maker: Maker, plural: str, home: str, draft: Draft) -> None:
    made = (await maker.make(draft.objects))[-1]
    metadata = made["metadata"]
    key = Key(home, str(metadata.get("namespace") or ""), str(metadata["name"]), str(metadata.get("uid") or ""))
    desk.go_to(plural, key)
    source = words_at(made, ("spec", "dataSource", "type"))
    word = desk.fleet.resources[plural].short
    how = f"; hv upload FILE {word}/{key.name} sends it" if source == "Upload" else ""
    desk.say(f"{key.name} is created{how}")


def _name(recipe: Recipe) -> Field:
    rename = recipe.rename or (lambda draft, name: put(draft.main, ("metadata", "name"), name or None))
    return Field("name", ("metadata", "name"), lambda draft: draft.name, rename, help="What it is called.")


def _have_namespace(draft: Draft, namespace: str) -> None:
    for obj in draft.objects:
        put(obj, ("metadata", "namespace"), namespace or None)


_NAMESPACE = Field(
    "namespace", ("metadata", "namespace"), plain("", "metadata.namespace").get, _have_namespace,
    choices=("namespaces",), help="Where it is.",
)  # fmt: skip


def _begin(desk: Desk, targets: Sequence[Target], given: What) -> None:
    plural = desk.kind.plural
    if given.kind:
        word = given.kind.lower()
        kind = desk.kinds.by_word.get(word) or desk.kinds.by_word.get(f"{word}s")
        if kind is None:
            raise BadRequest(f"no home has a kind {given.kind}")
        plural = kind.plural
    home = given.home or (desk.cursor.home if desk.cursor is not None else next(iter(desk.fleet.homes)))
    desk.work(_open(desk, plural, home), "create", opens=True)


ACTIONS = (
    action(
        "create", "plus", "create", "make a new one, in a form", "Lists", _begin, What, words="create new",
        needs=lambda plural: f"create {plural}",
    ),
)  # fmt: skip
