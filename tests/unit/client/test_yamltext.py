"""The YAML that is printed is read back as the same object."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperd.client.yamltext import dump, scalar

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=100)
@given(JSON)
def test_any_json_survives_a_round_trip(value: object) -> None:
    assert yaml.load(dump(value), _Json) == value


@given(st.from_regex(r"[-+.0-9eExob_:~=<>!&*%@`'\"#,?| yYnNoOtTfF]{1,8}", fullmatch=True))
def test_text_that_looks_like_something_else_stays_text(text: str) -> None:
    assert yaml.load(dump({"a": text}), _Json) == {"a": text}


@pytest.mark.parametrize("text", ["2Gi", "100%", "10.66.10.7", "web-7", "virtualization.deckhouse.io/v1alpha2"])
def test_what_needs_no_quotes_gets_none(text: str) -> None:
    assert scalar(text) == text


def test_lists_and_blocks_look_as_kubectl_writes_them() -> None:
    value = {
        "spec": {"refs": [{"kind": "VirtualDisk", "name": "a"}], "empty": [], "userData": "#cloud-config\na: 1\n"}
    }
    assert dump(value) == (
        "spec:\n  refs:\n  - kind: VirtualDisk\n    name: a\n  empty: []\n"
        "  userData: |\n    #cloud-config\n    a: 1\n"
    )


class _Json(yaml.SafeLoader):
    """A reader of YAML 1.1 that knows floats without a dot, as JSON has them (1e+16)."""


_Json.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    __import__("re").compile(r"-?[0-9]+(\.[0-9]+)?[eE][-+]?[0-9]+\Z"),
    list("-0123456789"),
)
