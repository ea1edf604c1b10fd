"""Secrets and ConfigMaps are refused and kept as kube-apiserver does, in its words."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from hyperd.errors import BadRequest, Invalid
from hyperd.resources.schema.kind import Kind, Object
from hyperd.store.interface import PatchType, Store
from tests.contract.store.kinds import CONFIG_MAPS, SECRETS

REGEX = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' "
    "(e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)
IMMUTABLE = "Forbidden: field is immutable when `immutable` is set"
LONG = "k" * 254
LARGE = "x" * ((1 << 20) + 1)
B = base64.b64encode(b"value").decode()
LARGE_B = base64.b64encode(LARGE.encode()).decode()


def secret(type_: str, **data: str) -> Object:
    return {"type": f"kubernetes.io/{type_}", "data": data}


def causes(error: Invalid) -> list[tuple[str, str, str]]:
    return sorted((cause.field, cause.message, cause.reason) for cause in error.causes)


REFUSED: list[tuple[Kind, Object, list[tuple[str, str]]]] = [
    (CONFIG_MAPS, {"data": {"a b": "1"}}, [("data[a b]", f'Invalid value: "a b": {REGEX}')]),
    (CONFIG_MAPS, {"data": {"..": "1"}}, [("data[..]", "Invalid value: \"..\": must not be '..'")]),
    (CONFIG_MAPS, {"data": {"..a": "1"}}, [("data[..a]", "Invalid value: \"..a\": must not start with '..'")]),
    (CONFIG_MAPS, {"binaryData": {".": B}}, [("binaryData[.]", "Invalid value: \".\": must not be '.'")]),
    (
        CONFIG_MAPS,
        {"data": {LONG: "1"}},
        [(f"data[{LONG}]", f'Invalid value: "{LONG}": must be no more than 253 characters')],
    ),
    (
        CONFIG_MAPS,
        {"data": {"a": "1"}, "binaryData": {"a": B}},
        [("data[a]", 'Invalid value: "a": duplicate of key present in binaryData')],
    ),
    (CONFIG_MAPS, {"data": {"a": LARGE}}, [("[]", "Too long: may not be more than 1048576 bytes")]),
    (SECRETS, {"data": {"a": LARGE_B}}, [("data", "Too long: may not be more than 1048576 bytes")]),
    (SECRETS, {"stringData": {"ä": "1"}}, [("data[ä]", f'Invalid value: "ä": {REGEX}')]),
    (SECRETS, secret("dockerconfigjson"), [("data[.dockerconfigjson]", "Required value")]),
    (SECRETS, secret("dockercfg"), [("data[.dockercfg]", "Required value")]),
    (SECRETS, secret("tls", **{"tls.crt": B}), [("data[tls.key]", "Required value")]),
    (SECRETS, secret("ssh-auth", **{"ssh-privatekey": ""}), [("data[ssh-privatekey]", "Required value")]),
    (SECRETS, secret("basic-auth"), [("data[password]", "Required value"), ("data[username]", "Required value")]),
    (
        SECRETS,
        secret("service-account-token"),
        [("metadata.annotations[kubernetes.io/service-account.name]", "Required value")],
    ),
]


@pytest.mark.parametrize(("kind", "content", "wanted"), REFUSED)
async def test_what_is_wrong_is_said_of_the_key(
    store: Store, kind: Kind, content: Object, wanted: list[tuple[str, str]]
) -> None:
    with pytest.raises(Invalid) as refused:
        await store.create(kind, "default", {"metadata": {"name": "a"}, **content})
    assert [(field, message) for field, message, _ in causes(refused.value)] == wanted


async def test_what_cannot_be_decoded_is_a_bad_request(store: Store) -> None:
    bad: list[tuple[Kind, dict[str, Any]]] = [
        (SECRETS, {"data": {"a": "?"}}), (SECRETS, {"data": {"a": 1}}), (SECRETS, {"stringData": ["a"]}),
        (CONFIG_MAPS, {"data": {"a": 1}}), (CONFIG_MAPS, {"binaryData": {"a": "?"}}),
    ]  # fmt: skip
    for kind, content in bad:
        with pytest.raises(BadRequest, match="cannot be handled as a"):
            await store.create(kind, "default", {"metadata": {"name": "a"}, **content})
    with pytest.raises(Invalid) as refused:
        await store.create(
            SECRETS, "default", {"metadata": {"name": "a"}, **secret("dockercfg", **{".dockercfg": B})}
        )
    assert causes(refused.value)[0][1].startswith('Invalid value: "<secret contents redacted>": ')


async def test_base64_is_kept_in_one_form_and_nulls_as_nothing(store: Store) -> None:
    sent = {"metadata": {"name": "s"}, "data": {"a": "MQ\n==\r\n"}, "stringData": {"b": None}}
    assert (await store.create(SECRETS, "default", sent)).object()["data"] == {"a": "MQ==", "b": ""}
    made = await store.create(CONFIG_MAPS, "default", {"metadata": {"name": "c"}, "data": {"a": None}})
    assert made.object()["data"] == {"a": ""}
    largest = {"metadata": {"name": "d"}, "data": {"a": LARGE[:-1]}}
    assert (await store.create(CONFIG_MAPS, "default", largest)).name == "d"


@pytest.mark.parametrize("kind", [CONFIG_MAPS, SECRETS])
async def test_an_immutable_one_stays_as_it_is(store: Store, kind: Kind) -> None:
    content: Object = {"metadata": {"name": "a"}, "data": {"a": B}, "immutable": True}
    await store.create(kind, "default", content)
    labels = {"metadata": {"labels": {"a": "b"}}}
    labelled = await store.patch(kind, "default", "a", PatchType.MERGE, labels)
    assert labelled.object()["metadata"]["labels"] == {"a": "b"}
    change = {"immutable": False, "data": {"b": B}}
    with pytest.raises(Invalid) as refused:
        await store.patch(kind, "default", "a", PatchType.MERGE, change)
    reason = "FieldValueForbidden"
    assert causes(refused.value) == [("data", IMMUTABLE, reason), ("immutable", IMMUTABLE, reason)]
    assert (await store.delete(kind, "default", "a"))[1]


async def test_the_type_of_a_secret_stays(store: Store) -> None:
    made = await store.create(SECRETS, "default", {"metadata": {"name": "a"}})
    with pytest.raises(Invalid) as refused:
        await store.update(SECRETS, "default", "a", {**made.object(), "type": "other"})
    assert causes(refused.value) == [("type", 'Invalid value: "other": field is immutable', "FieldValueInvalid")]
