"""Selectors: the whole grammar, and refusal of everything else."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperd.api.wire.selectors import MAX_TERMS, parse, parse_fields, parse_labels
from hyperd.errors import BadRequest
from hyperd.resources.schema.kind import Kind
from hyperd.store.interface import FieldRequirement, Requirement
from hyperd.store.records import Stored
from hyperd.store.selecting import selects

KIND = Kind("", "v1", "Event", "events", "event", True, selectable_fields=("involvedObject.name",))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=b", [Requirement("a", "in", frozenset({"b"}))]),
        ("a==b", [Requirement("a", "in", frozenset({"b"}))]),
        ("a!=b", [Requirement("a", "notin", frozenset({"b"}))]),
        ("a=", [Requirement("a", "in", frozenset({""}))]),
        ("a", [Requirement("a", "exists")]),
        ("!a", [Requirement("a", "!exists")]),
        ("a in (b, c)", [Requirement("a", "in", frozenset({"b", "c"}))]),
        ("a notin (b)", [Requirement("a", "notin", frozenset({"b"}))]),
        ("a in (b,)", [Requirement("a", "in", frozenset({"b", ""}))]),
        ("a > 1", [Requirement("a", "gt", frozenset({"1"}))]),
        ("a<1,a", [Requirement("a", "lt", frozenset({"1"})), Requirement("a", "exists")]),
        (
            "x.io/tier in (web,db), !gone ,env!=prod",
            [
                Requirement("x.io/tier", "in", frozenset({"web", "db"})),
                Requirement("gone", "!exists"),
                Requirement("env", "notin", frozenset({"prod"})),
            ],
        ),
    ],
)
def test_a_label_selector_is_read_as_kubernetes_reads_it(text: str, expected: list[Requirement]) -> None:
    assert list(parse_labels(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "a=b=c",
        "a,,b",
        "a,",
        "=b",
        "a in b",
        "a in (b",
        "a in (b c)",
        "a > x",
        "a<",
        "a<1.5",
        "-a=b",
        "A_b/c/d=e",
        "a=b;c",
        "/a",
    ],
)
def test_what_is_no_label_selector_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="unable to parse requirement"):
        parse_labels(text)


@given(st.text(max_size=40))
def test_no_text_makes_the_label_parser_fail_in_another_way(text: str) -> None:
    try:
        parse_labels(text)
    except BadRequest:
        pass


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("metadata.name=x", [FieldRequirement("metadata.name", "x")]),
        ("metadata.name==x", [FieldRequirement("metadata.name", "x")]),
        ("metadata.namespace!=x", [FieldRequirement("metadata.namespace", "x", equal=False)]),
        (r"involvedObject.name=a\,b\=c", [FieldRequirement("involvedObject.name", "a,b=c")]),
        (
            "metadata.name=x,involvedObject.name=",
            [FieldRequirement("metadata.name", "x"), FieldRequirement("involvedObject.name", "")],
        ),
    ],
)
def test_a_field_selector_is_read(text: str, expected: list[FieldRequirement]) -> None:
    assert list(parse_fields(KIND, text)) == expected


def test_a_field_that_the_kind_does_not_offer_is_refused_with_those_it_does() -> None:
    with pytest.raises(BadRequest, match=r'"spec.nodeName"; events can be selected by involvedObject.name'):
        parse_fields(KIND, "spec.nodeName=x")


def test_a_field_selector_without_an_operator_is_refused() -> None:
    with pytest.raises(BadRequest, match="has no '='"):
        parse(KIND, "", "metadata.name")


@pytest.mark.parametrize(
    ("text", "chosen"),
    [("n>2", {"3", "10"}), ("n<3", {"-1", "2"}), ("n>1,n<10", {"2", "3"})],
)
def test_numbers_compare_as_numbers_and_other_labels_never_match(text: str, chosen: set[str]) -> None:
    requirements = parse_labels(text)
    values = ("-1", "2", "3", "10", "x", "", "99999999999999999999")
    assert {value for value in values if all(one.matches({"n": value}) for one in requirements)} == chosen
    assert not all(one.matches({}) for one in requirements)


LONG_LINE = 30_000
SAME = {"exists": "a", "absent": "!k", "equal": "k!=v", "set": "k notin (v,w)", "compared": "n>1"}
DIFFERENT = {"exists": "a{}", "absent": "!k{}", "equal": "k!=v{}", "set": "k{} notin (v,w)", "compared": "n>{}"}


@pytest.mark.parametrize("term", DIFFERENT.values(), ids=DIFFERENT)
def test_a_label_selector_has_few_different_terms(term: str) -> None:
    fitting = ",".join(term.format(number) for number in range(MAX_TERMS))
    assert len(parse_labels(fitting)) == MAX_TERMS
    with pytest.raises(BadRequest, match=f"more than {MAX_TERMS} different terms"):
        parse_labels(f"{fitting},{term.format(MAX_TERMS)}")


@pytest.mark.parametrize("operator", ["=", "==", "!="])
def test_a_field_selector_has_few_different_terms(operator: str) -> None:
    fitting = ",".join(f"metadata.name{operator}x{number}" for number in range(MAX_TERMS))
    assert len(parse_fields(KIND, fitting)) == MAX_TERMS
    with pytest.raises(BadRequest, match=f"more than {MAX_TERMS} different terms"):
        parse_fields(KIND, f"{fitting},metadata.name{operator}y")


def test_many_values_of_one_term_are_taken() -> None:
    (found,) = parse_labels(f"a in ({','.join(f'v{number}' for number in range(3000))})")
    assert len(found.values) == 3000


@pytest.mark.parametrize("labels", SAME.values(), ids=SAME)
def test_a_selector_as_long_as_a_request_line_costs_what_one_term_costs(labels: str) -> None:
    """Repeating a term 15,000 times held the loop for seconds over two thousand objects."""
    meta = {"namespace": "shop", "uid": "u", "labels": {"a": "b", "n": "2"}}
    items = [Stored.encode(KIND, {"metadata": {**meta, "name": f"x{number}"}}, number) for number in range(2000)]

    def cost(text: str, fields: str) -> float:
        best = float("inf")
        for _ in range(3):
            before = time.thread_time()
            selector = parse(KIND, text, fields)
            for item in items:
                selects(KIND, selector, item)
            best = min(best, time.thread_time() - before)
        return best

    many = LONG_LINE // (len(labels) + 1)
    fields = "metadata.name!=y"
    one = cost(labels, fields)
    all_ = cost(",".join([labels] * many), ",".join([fields] * (LONG_LINE // 17)))
    assert all_ < one + 0.3, f"{many} terms: {all_:.3f} s, one: {one:.3f} s"
