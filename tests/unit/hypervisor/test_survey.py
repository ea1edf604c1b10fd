"""The last picture: what changed is told once, and what is missing is missed twice before it is gone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hyperd.hypervisor.actions.reader import Reader, Stamp
from hyperd.hypervisor.actions.survey import Look, Survey
from hyperd.hypervisor.state import DomainInfo, DomainState

A = DomainInfo(
    uid="a",
    namespace="n",
    vm_name="v",
    generation=1,
    applied="h",
    state=DomainState.RUNNING,
    reason="booted",
    persistent=True,
)
STAMP = Stamp(1, 1, 1)
PRESENT = Look(stamps={"a": STAMP}, fresh={"a": A}, missing=frozenset())
ABSENT = Look(stamps={}, fresh={}, missing=frozenset({"a"}))


def survey() -> Survey:
    return Survey(Reader("hyperd", Path("/nowhere")))


def test_a_new_domain_is_told_once() -> None:
    seen = survey()
    assert seen.take(PRESENT) == ["a"]
    assert seen.take(replace(PRESENT, fresh={})) == []
    assert seen.known == {"a": A}


def test_what_was_read_already_is_not_told_again() -> None:
    seen = survey()
    seen.note(A)
    assert seen.take(PRESENT) == []


def test_a_missing_domain_is_gone_at_the_second_look() -> None:
    seen = survey()
    seen.take(PRESENT)
    assert seen.take(ABSENT) == []
    assert seen.known == {"a": A}
    assert seen.take(ABSENT) == ["a"]
    assert seen.known == {}


def test_a_domain_that_comes_back_was_never_gone() -> None:
    seen = survey()
    seen.take(PRESENT)
    seen.take(ABSENT)
    assert seen.take(PRESENT) == []
    assert seen.take(ABSENT) == []
    assert seen.known == {"a": A}
