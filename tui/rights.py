"""What a home lets its user do: asked once for a namespace, so that what would be refused is not offered."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field

from hyperd.errors import HyperdError
from tui.fleet import Fleet
from tui.shelf import Key, Object

_PATH = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
_SUBRESOURCES = "subresources.virtualization.deckhouse.io"
_AGAIN_SECONDS = 60.0
_ANYWHERE = "default"
"""The rules of any namespace have those for what is in none."""

Need = str
"""``create virtualdisks`` or ``get virtualmachines/console``; empty where anybody may."""


@dataclass
class _Rules:
    """``rules`` is None where it is not known what they are: then nothing is held back."""

    rules: list[Object] | None = None
    at: float = 0.0
    asked: bool = False
    answers: dict[tuple[str, str, str, str], bool] = field(default_factory=dict)


class Rights:
    """Answers at once with what is known; what is not yet is asked for beside, and ``changed`` is called then."""

    def __init__(
        self, fleet: Fleet, work: Callable[[Coroutine[None, None, None], str], None], changed: Callable[[], None]
    ) -> None:
        self._fleet = fleet
        self._work = work
        self._changed = changed
        self._known: dict[tuple[str, str], _Rules] = {}

    def lacks(self, key: Key, need: Need) -> str:
        """What the user may not do to this object, as words after its name; empty where nothing is known of it."""
        if not need or self._fleet.client(key.home) is None:
            return ""
        namespace = key.namespace or _ANYWHERE
        known = self._known.setdefault((key.home, namespace), _Rules())
        if not known.asked and (not known.at or time.monotonic() - known.at > _AGAIN_SECONDS):
            known.asked = True
            self._work(self._ask(key.home, namespace, known), "rights")
        verb, _, resource = need.partition(" ")
        if known.rules is None or self._may(known, verb, resource, key.name):
            return ""
        where = f" in {key.namespace}" if key.namespace else ""
        return f"needs the right to {verb} {resource}{where}, which you do not have"

    def _may(self, known: _Rules, verb: str, resource: str, name: str) -> bool:
        plural, _, sub = resource.partition("/")
        served = self._fleet.resources.get(plural)
        if served is None:
            return True
        group = _SUBRESOURCES if sub else served.group
        resource = f"{served.plural}/{sub}" if sub else served.plural
        question = (verb, group, resource, name)
        if question not in known.answers:
            known.answers[question] = any(_allows(rule, *question) for rule in known.rules or ())
        return known.answers[question]

    async def _ask(self, home: str, namespace: str, known: _Rules) -> None:
        body = {
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
            "spec": {"namespace": namespace},
        }  # fmt: skip
        try:
            answer = await self._fleet.connected(home).call("POST", _PATH, body=body)
        except HyperdError:
            answer = {}
        status = answer.get("status")
        rules = status.get("resourceRules") if isinstance(status, dict) else None
        whole = isinstance(rules, list) and isinstance(status, dict) and not status.get("incomplete")
        known.rules = [rule for rule in rules if isinstance(rule, dict)] if whole and rules is not None else None
        known.answers, known.at, known.asked = {}, time.monotonic(), False
        self._changed()


def _allows(rule: Object, verb: str, group: str, resource: str, name: str) -> bool:
    def has(word: str, *wanted: str) -> bool:
        listed = rule.get(word)
        return isinstance(listed, list) and any(each in listed for each in wanted)

    _, slash, sub = resource.partition("/")
    wide = ("*", f"*/{sub}") if slash else ("*",)
    names = rule.get("resourceNames")
    return (
        has("verbs", verb, "*")
        and has("apiGroups", group, "*")
        and has("resources", resource, *wide)
        and (not names or (isinstance(names, list) and name in names))
    )
