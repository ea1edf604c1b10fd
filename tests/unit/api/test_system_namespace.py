"""What lies in the system's namespace (hashes of tokens, the registry's password) stays there.

Every kind of the registry × every role × every way to ask: a kind that is added is tried from then on.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from hyperd.api.access.authorization import Attributes
from hyperd.api.access.rules import AUTHENTICATED, RoleAuthorizer
from hyperd.api.wire import routes
from hyperd.resources.all import KINDS, NAMESPACE, RESOURCE_QUOTA
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.values.names import GROUP, SYSTEM_NAMESPACE
from hyperd.roles import NAMESPACES_EXTRA, Role
from hyperd.store.embedded.memory import Place
from hyperd.store.interface import User
from tests.unit.api.conftest import Api, serving
from tests.unit.api.test_identity import bearer, token

CANARY = "canary-of-the-system"
BELOW_ADMIN = tuple(role for role in Role if role is not Role.ADMIN)
IN_NAMESPACES = tuple(kind for kind in KINDS.served() if kind.namespaced and "list" in kind.verbs)
FORMS = (
    "application/json",
    "application/yaml",
    "application/json;as=Table;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
)
SELECTIONS = (
    "resourceVersion=0",
    "resourceVersion=1&resourceVersionMatch=NotOlderThan",
    "labelSelector=planted",
    "labelSelector=planted=yes",
    "fieldSelector=metadata.namespace!=shop",
    f"fieldSelector=metadata.namespace={SYSTEM_NAMESPACE}",
    f"fieldSelector=metadata.namespace%3D{SYSTEM_NAMESPACE},metadata.name%3D{CANARY}",
    f"fieldSelector=metadata.name%3D{CANARY},metadata.namespace%3D{SYSTEM_NAMESPACE}",
    f"fieldSelector=metadata.name={CANARY}",
    f"fieldSelector=metadata.name={CANARY}&limit=1",
)

ASKED = (
    *(("", form) for form in FORMS),
    *zip(SELECTIONS, itertools.cycle(FORMS)),
)


def _planted(kind: Kind, namespace: str, name: str, **more: Any) -> Object:
    metadata = {
        "name": name,
        "namespace": namespace,
        "uid": str(uuid.uuid4()),
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": {"planted": "yes"},
    }
    if kind.plural == "virtualdisks":
        target = {"persistentVolumeClaimName": name}
        more["status"] = {"phase": "Ready", "capacity": "1Gi", "target": target}
    if kind.plural == "virtualmachines":
        more |= {"spec": {}, "status": {"phase": "Running", "nodeName": "n1"}}  # so that it has an instance
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **more}


async def _plant(api: Api, kind: Kind, namespace: str, name: str) -> None:
    """An object that no rule has judged: only who may see it is of interest."""
    # Reaching below the store's rules keeps this test whole when a kind gets new ones.
    await api.store._ledger.put(kind, _planted(kind, namespace, name), None)


@pytest.fixture
async def planted(folder: Path) -> AsyncIterator[Api]:
    async with serving(folder, audit={"level": "off"}, admission=False) as api:
        await api.call("POST", "/api/v1/namespaces", {"metadata": {"name": "shop"}})
        await api.call("POST", "/api/v1/namespaces", {"metadata": {"name": "zoo"}})
        for kind in KINDS:
            if kind.namespaced:
                # On both sides of the system's namespace in the order of lists.
                for namespace, name in (("default", "a"), (SYSTEM_NAMESPACE, CANARY), ("shop", "b"), ("zoo", "c")):
                    await _plant(api, kind, namespace, name)
        yield api


def _everywhere(kind: Kind) -> str:
    return f"{routes.prefix(kind)}/{kind.plural}"


def _within(kind: Kind, namespace: str) -> str:
    return f"{routes.prefix(kind)}/namespaces/{namespace}/{kind.plural}"


async def _logins(api: Api) -> dict[str, dict[str, str]]:
    """Headers of everybody who may not see the system's namespace, by what to call them."""
    found = {}
    for role in Role:
        if role is not Role.ADMIN:
            found[role.value] = bearer(await token(api, role.value, role))
        found[f"{role} in shop"] = bearer(await token(api, f"{role}-shop", role, "shop"))
        found[f"{role} in both"] = bearer(await token(api, f"{role}-both", role, "shop", SYSTEM_NAMESPACE))
    return found


async def _text(api: Api, path: str, headers: dict[str, str]) -> tuple[int, str]:
    async with api.client.get(f"http://h{path}", headers=headers) as response:
        return response.status, await response.text()


async def test_no_list_shows_it(planted: Api) -> None:
    shown = 0
    for who, headers in (await _logins(planted)).items():
        for kind, (selection, form) in itertools.product(IN_NAMESPACES, ASKED):
            path = f"{_everywhere(kind)}?{selection}"
            status, text = await _text(planted, path, {**headers, "Accept": form})
            assert status in (200, 403), (who, path, text)
            assert CANARY not in text.replace(f'"{CANARY}\\"', ""), (who, path, form, text)
            if status == 200 and not selection:
                # What the role promises is all there.
                assert all(f"{name}" in text for name in ("default", "shop", "zoo")), (who, path, text)
                shown += 1
    # Three roles see all kinds but Secrets, one sees those too.
    assert shown == len(FORMS) * (3 * len(IN_NAMESPACES) - 2)


async def test_an_administrator_sees_it_all(planted: Api) -> None:
    headers = bearer(await token(planted, "root", Role.ADMIN))
    for kind in IN_NAMESPACES:
        _, text = await _text(planted, _everywhere(kind), headers)
        assert CANARY in text, kind.plural


async def test_pages_do_not_tell_of_it(planted: Api) -> None:
    logins = await _logins(planted)
    for role, kind in itertools.product(BELOW_ADMIN, IN_NAMESPACES):
        if kind.plural == "secrets" and role is not Role.EDITOR:
            continue
        headers = logins[role.value]
        names, remaining, tokens = [], [], []
        following = ""
        while True:
            path = f"{_everywhere(kind)}?limit=1&continue={following}&labelSelector=planted"
            status, page = await planted.call("GET", path, headers=headers)
            assert status == 200, page
            names += [item["metadata"]["name"] for item in page["items"]]
            following = page["metadata"].get("continue", "")
            remaining.append(page["metadata"].get("remainingItemCount"))
            if not following:
                break
            tokens.append(base64.urlsafe_b64decode(following + "==").decode())
        assert names == ["a", "b", "c"], kind.plural
        assert remaining in ([2, 1, None], [None, None, None])
        assert not any(CANARY in one or SYSTEM_NAMESPACE in one for one in tokens)


async def test_a_made_up_token_leads_nowhere(planted: Api) -> None:
    version = int(await planted.version())
    logins = await _logins(planted)
    for role, kind in itertools.product(BELOW_ADMIN, IN_NAMESPACES):
        headers = logins[role.value]
        for after, rv in itertools.product((["default", "z"], [SYSTEM_NAMESPACE, ""]), (version, -1)):
            made = base64.urlsafe_b64encode(orjson.dumps([rv, *after])).decode().rstrip("=")
            _, text = await _text(planted, f"{_everywhere(kind)}?limit=1&continue={made}", headers)
            assert CANARY not in text


async def test_no_watch_tells_of_it(planted: Api) -> None:
    """Neither what exists, nor what happens, nor what has happened: each way to begin, each form."""
    began = await planted.version()
    logins = await _logins(planted)
    for kind in KINDS:
        if kind.namespaced:
            await _change(planted, kind, CANARY, SYSTEM_NAMESPACE)
    queries = (
        "watch=1",
        f"watch=1&resourceVersion={began}",
        "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
        f"watch=1&fieldSelector=metadata.namespace%3D{SYSTEM_NAMESPACE}",
        "watch=1&labelSelector=planted",
    )
    limit = asyncio.Semaphore(1000)

    async def seen(who: str, kind: Kind, query: str, form: str) -> tuple[str, str, str]:
        path = f"{_everywhere(kind)}?{query}&timeoutSeconds=3"
        async with limit:
            _, text = await _text(planted, path, {**logins[who], "Accept": form})
        return who, path, text

    watching = [
        asyncio.create_task(seen(who, kind, query, form))
        for who in (*BELOW_ADMIN, "editor in both")
        for kind in IN_NAMESPACES
        for query, form in zip(queries, itertools.cycle((FORMS[0], FORMS[2])), strict=False)
    ]
    while planted.store.watchers < len(IN_NAMESPACES):
        await asyncio.sleep(0.01)
    for kind in KINDS:
        if kind.namespaced:
            await _change(planted, kind, CANARY, SYSTEM_NAMESPACE)
            await _change(planted, kind, "b", "shop")
            await _drop(planted, kind, CANARY, SYSTEM_NAMESPACE)
    texts = await asyncio.gather(*watching)
    for who, path, text in texts:
        assert CANARY not in text, (who, path, text)
    assert sum('"MODIFIED"' in text for _, _, text in texts) > len(IN_NAMESPACES)


async def _change(api: Api, kind: Kind, name: str, namespace: str) -> None:
    old = api.store._memory.require(kind, namespace, name)
    obj = old.object()
    obj["metadata"].setdefault("annotations", {})["at"] = str(uuid.uuid4())
    async with api.store._ledger.turn(Place(kind, namespace, name)):
        await api.store._ledger.put(kind, obj, old)


async def _drop(api: Api, kind: Kind, name: str, namespace: str) -> None:
    old = api.store._memory.require(kind, namespace, name)
    async with api.store._ledger.turn(Place(kind, namespace, name)):
        await api.store._ledger.drop(kind, old.object(), old)


async def test_the_namespace_itself_is_out_of_sight(planted: Api) -> None:
    for role in BELOW_ADMIN:
        headers = bearer(await token(planted, role.value, role))
        for query in (
            "",
            "?limit=1",
            f"?fieldSelector=metadata.name={SYSTEM_NAMESPACE}",
            "?watch=1&timeoutSeconds=1",
        ):
            status, text = await _text(planted, f"/api/v1/namespaces{query}", headers)
            assert (status, SYSTEM_NAMESPACE in text) == (200, False), (role, query, text)
        for path in (f"/api/v1/namespaces/{SYSTEM_NAMESPACE}", f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/status"):
            assert (await _text(planted, path, headers))[0] == 403
    _, text = await _text(planted, "/api/v1/namespaces", bearer(await token(planted, "root", Role.ADMIN)))
    assert SYSTEM_NAMESPACE in text


async def test_every_verb_in_it_is_refused(planted: Api) -> None:
    version = await planted.version()
    logins = await _logins(planted)
    version = await planted.version()
    for who, headers in logins.items():
        for kind in KINDS.served():
            if not kind.namespaced:
                continue
            for operation in routes.operations(kind):
                if "{namespace}" not in operation.path:
                    continue
                path = operation.path.format(namespace=SYSTEM_NAMESPACE, name=CANARY)
                body: Object | None = {} if operation.method in ("POST", "PUT", "PATCH") else None
                status, answer = await planted.call(operation.method, path, body, headers=headers)
                assert status == 403, (who, operation, answer)
    assert await planted.version() == version


def _user(role: Role, *limits: str) -> User:
    return User("u", (AUTHENTICATED, role.group), extra=((NAMESPACES_EXTRA, limits),) if limits else ())


USERS = [
    pytest.param(_user(role, *limits), id=f"{role}-{'-'.join(limits)}")
    for role in Role
    for limits in ((), ("shop",), ("shop", SYSTEM_NAMESPACE))
]
PLACES = ("", "shop", "default", SYSTEM_NAMESPACE)


def _questions() -> Iterator[tuple[Kind, str, str]]:
    for kind in KINDS:
        for subresource in ("", *kind.subresources):
            for verb in ("get", "update", "patch") if subresource else kind.verbs:
                yield kind, subresource, verb


@pytest.mark.parametrize("user", USERS)
async def test_what_is_listed_is_what_is_allowed(user: User) -> None:
    """``kubectl auth can-i --list`` says what the answers to single questions say, and what requests then meet."""
    authorizer = RoleAuthorizer(KINDS)
    for namespace in PLACES[1:]:
        rules = [rule for rule in await authorizer.rules(user, namespace) if not rule.paths]
        for kind, subresource, verb in _questions():
            name = namespace if kind is NAMESPACE else ""
            asked = Attributes(verb, kind.group, kind.plural, subresource, namespace, name)
            listed = any(
                _holds(rule.verbs, verb) and _holds(rule.groups, kind.group)
                and _holds(rule.resources, asked.qualified) and (not rule.names or name in rule.names)
                for rule in rules
            )  # fmt: skip
            allowed = await authorizer.allows(user, asked)
            limits = (
                kind is RESOURCE_QUOTA and verb not in ("get", "list", "watch") and Role.ADMIN.group in user.groups
            )
            if (kind.group == GROUP and subresource == "status" and verb != "get") or (limits and user.extra):
                assert not allowed  # rules of Kubernetes cannot say "all but"
            elif not (kind is NAMESPACE or (Role.ADMIN.group in user.groups and not kind.namespaced)):
                assert listed == allowed, (asked, listed)
            if not kind.namespaced and kind is not NAMESPACE:
                # Where it is asked about makes no difference to what is nowhere in particular.
                everywhere = Attributes(verb, kind.group, kind.plural, subresource, "", name)
                assert await authorizer.allows(user, everywhere) == allowed, asked


def _holds(values: Sequence[str], wanted: str) -> bool:
    return "*" in values or wanted in values
