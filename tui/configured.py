"""Keys, columns and commands of the configuration, put into what the TUI knows of actions and kinds."""

from __future__ import annotations

import difflib
import os
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from hyperd.client import sanitize
from hyperd.errors import BadRequest
from hyperd.resources.values.jsonpath import value_at
from tui.action import Action, Parameters, Target, action
from tui.actions import Actions, load
from tui.config import THEMES, Command, Config
from tui.desk import Desk
from tui.kind import Field, Kind, at
from tui.kinds import Kinds
from tui.widgets.rows import Column

_PLACE = re.compile(r"\{(name|namespace|home|kind|\.[^{}]+)\}")
_PLAIN = re.compile(r"[A-Za-z0-9_./:][A-Za-z0-9_./:@+-]*\Z")
"""What no shell, ``ssh`` or ``watch`` that puts its words together again takes for more than a part of a word."""
_WIDTH = 14
_LONGEST_WORD = 4096


def refine(kinds: Kinds, config: Config) -> None:
    """Give kinds the user's columns, those too that homes turn out to serve. Raises BadRequest."""
    wanted = {}
    for word, columns in config.columns.items():
        kind = kinds.by_word.get(word.lower())
        if kind is not None:
            kinds.put(columned(kind, columns))
        wanted[kind.plural if kind is not None else word.lower()] = columns

    def refined(kind: Kind) -> Kind:
        if kind.plural not in wanted:
            return kind
        try:
            return columned(kind, wanted[kind.plural])
        except BadRequest:  # the server's columns are others than the user thought
            return kind

    kinds.refine = refined


def actions(kinds: Kinds, config: Config) -> Actions:
    """All actions, the user's own too, by the user's keys. Raises BadRequest."""
    return Actions(keyed([*load(kinds), *commands(config, kinds)], dict(config.keys)))


def theme(wanted: str, known: Mapping[str, object]) -> str:
    """Textual's name of a theme. Raises BadRequest."""
    name = THEMES.get(wanted, wanted)
    if name not in known:
        raise BadRequest(f"there is no theme {wanted}; there are {', '.join([*THEMES, *sorted(known)])}")
    return name


def keyed(actions: Iterable[Action], keys: dict[str, str]) -> list[Action]:
    """The actions with the user's keys, which others give up. Raises BadRequest for an action that is none."""
    known = list(actions)
    names = {each.id for each in known}
    for id_ in keys:
        if id_ not in names:
            near = difflib.get_close_matches(id_, names, 3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise BadRequest(f"keys: there is no action {id_}{hint}")
    taken = {part for key in keys.values() for part in key.split(",") if part}
    found = []
    for each in known:
        if each.id in keys:
            found.append(replace(each, key=keys[each.id]))
        else:
            left = [part for part in each.key.split(",") if part not in taken]
            found.append(replace(each, key=",".join(left)))
    return found


def columned(kind: Kind, wanted: Sequence[str]) -> Kind:
    """The kind with these columns: its own titles, JSONPaths, or ``title=JSONPath``. Raises BadRequest."""
    own = {each.column.title.lower(): each for each in kind.fields}
    fields = []
    for word in wanted:
        title, _, path = word.rpartition("=")
        if path.startswith(".") or title:
            title = title or path.rpartition(".")[2]
            fields.append(Field(Column(sanitize.line(title).upper(), _WIDTH, grow=1, rank=1), at(path)))
        elif word.lower() in own:
            fields.append(own[word.lower()])
        else:
            titles = ", ".join(each.column.title for each in kind.fields)
            raise BadRequest(
                f"columns: {kind.plural} has no {word}; it has {titles}, and any JSONPath like .spec.x"
            )
    if not fields:
        raise BadRequest(f"columns: {kind.plural} needs at least one")
    titles_kept = {each.column.title for each in fields}
    return replace(kind, fields=tuple(fields), sort=kind.sort if kind.sort in titles_kept else "")


def commands(config: Config, kinds: Iterable[Kind]) -> list[Action]:
    """The user's own commands as actions. Raises BadRequest for a kind that is none."""
    by_word = {word: kind.plural for kind in kinds for word in kind.words}
    return [_action(each, by_word) for each in config.commands]


def _action(command: Command, by_word: dict[str, str]) -> Action:
    for word in command.kinds:
        if word not in by_word:
            raise BadRequest(f"commands: {command.name} is for {word}, which is no kind")
    plurals = {by_word[word] for word in command.kinds}

    def run(desk: Desk, targets: Sequence[Target], given: Parameters) -> None:
        words, env = filled(command, targets[0]), variables(command, targets[0])

        def begin() -> None:
            desk.work(_run(desk, command, words, env), "command", opens=True)

        if command.ask:
            desk.ask(f"Run {command.name} for {desk.named(targets[0].key)}", sanitize.line(" ".join(words)), begin)
        else:
            begin()

    return action(
        f"command_{command.name}", command.key, command.name, command.help or sanitize.line(" ".join(command.run)),
        "Commands", run, Parameters, words=command.name, changes=True,
        applies=lambda kind: not plurals or kind.plural in plurals,
    )  # fmt: skip


def filled(command: Command, target: Target) -> list[str]:
    """The words of the command for one object.

    Raises BadRequest where a field is not there, or says what a program could take for more than a value.
    """

    def value(found: re.Match[str]) -> str:
        text = _value(command, target, found[1])
        if not text:
            raise BadRequest(f"{command.name}: {target.key.name} has no {found[1]}")
        if not _PLAIN.match(text):
            raise BadRequest(
                f"{command.name}: what {target.key.name} has at {found[1]} is nothing to give to a program as a "
                "word; env gives it in a variable"
            )
        return text

    return [_PLACE.sub(value, word) for word in command.run]


def variables(command: Command, target: Target) -> dict[str, str]:
    """What the command finds in its environment, nothing where a field is not there.

    A shell takes ``"$HV_NAME"`` for nothing but a value. Raises BadRequest for control characters only.
    """
    own = {f"HV_{name.upper()}": text for name, text in _plain(target).items() if text.isprintable()}
    return own | {
        name: _PLACE.sub(lambda found: _value(command, target, found[1]), text)
        for name, text in command.env.items()
    }


def _plain(target: Target) -> dict[str, str]:
    key = target.key
    return {"name": key.name, "namespace": key.namespace, "home": key.home, "kind": str(target.obj.get("kind"))}


def _value(command: Command, target: Target, place: str) -> str:
    plain = _plain(target)
    said = plain[place] if place in plain else value_at(target.obj, place)
    text = "" if said is None else str(said)
    if not text.isprintable() or len(text) > _LONGEST_WORD:
        raise BadRequest(f"{command.name}: what {target.key.name} has at {place} is nothing to give to a program")
    return text


async def _run(desk: Desk, command: Command, words: list[str], env: Mapping[str, str]) -> None:
    def call() -> int:
        try:
            code = subprocess.run(words, env={**os.environ, **env}, check=False).returncode
        except OSError as err:
            raise BadRequest(f"{words[0]} cannot be run: {err.strerror}") from err
        if command.wait:
            input(f"\n{command.name} ended with {code}; Enter goes back ")
        return code

    code = await desk.hand_over(call)
    desk.say(f"{command.name} ended with {code}", error=code != 0)
