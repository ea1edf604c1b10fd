"""Every route that the router's table has, for everybody who should not pass it.

The table is read, not repeated: a kind, a verb or a subresource that is added is walked from then on.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from hyperd.api.certificates import pki
from hyperd.api.wire import routes, subresources
from hyperd.api.wire.review_kinds import ASKED, QUESTIONS
from hyperd.errors import NotFound
from hyperd.resources.all import KINDS
from hyperd.resources.schema.kind import Kind, Object
from hyperd.roles import Role
from hyperd.settings import Settings
from tests.unit.api.conftest import GROUP, Api, config_map, machine, serving
from tests.unit.api.test_identity import bearer, client_certificate, over_tls, token

CATALOGUE = {"virtualmachineclasses", "clustervirtualimages", "storageclasses"}
CONNECT_METHODS = {"get": "GET", "update": "PUT", "create": "POST"}
READS = {"get", "list", "watch"}


def _is_routed(kind: Kind) -> bool:
    try:
        return routes.Router(KINDS).resolve(f"{routes.prefix(kind)}/{kind.plural}").kind is not None
    except NotFound:
        return False


KINDS_SERVED = (*filter(_is_routed, KINDS.served()), *ASKED)


@dataclass(frozen=True)
class Route:
    """One method on one path, of objects that exist where they can."""

    method: str
    path: str
    verb: str
    plural: str = ""
    subresource: str = ""

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def is_document(self) -> bool:
        return not self.plural

    @property
    def asks_about_oneself(self) -> bool:
        return self.plural.startswith("selfsubject")

    @property
    def reads(self) -> bool:
        return self.verb in READS and self.subresource in ("", "status")


def _object_routes() -> Iterator[Route]:
    names = {"virtualmachines": "web", "namespaces": "default", "configmaps": "map", "secrets": "secret"}
    for kind in KINDS_SERVED:
        for operation in routes.operations(kind):
            path = operation.path.format(namespace="default", name=names.get(kind.plural, "absent"))
            yield Route(operation.method, path, operation.verb, kind.plural, operation.subresource)
            if operation.verb == "list":
                yield Route("GET", f"{path}?watch=true&timeoutSeconds=1", "watch", kind.plural)
                yield Route("HEAD", path, "list", kind.plural)


def _connect_routes() -> Iterator[Route]:
    base = f"/apis/{subresources.GROUP}/{subresources.VERSION}"
    for (plural, name), verbs in subresources.DECLARED.items():
        scope = "" if plural in subresources.CLUSTER_SCOPED else "/namespaces/default"
        for verb in verbs:
            yield Route(CONNECT_METHODS[verb], f"{base}{scope}/{plural}/web/{name}", verb, plural, name)


def _document_routes() -> Iterator[Route]:
    paths = ["/", "/api", "/apis", "/api/v1", "/openapi/v2", "/openapi/v3", "/metrics", "/nothing"]
    for group in {kind.group for kind in (*KINDS, *ASKED)} - {""}:
        paths += [f"/apis/{group}"]
    for kind in KINDS_SERVED:
        paths += [routes.prefix(kind), f"/openapi/v3{routes.prefix(kind)}"]
    for path in dict.fromkeys(paths):
        yield Route("GET", path, "get")


ROUTES = (*_object_routes(), *_connect_routes(), *_document_routes())


@dataclass(frozen=True)
class Answer:
    status: int
    reason: str


async def walk(client: aiohttp.ClientSession, headers: dict[str, str] | None = None) -> dict[Route, Answer]:
    """What each route answers."""
    found = {}
    for route in ROUTES:
        body: Object | None = {} if route.method in ("POST", "PUT", "PATCH") else None
        async with client.request(route.method, route.path, headers=headers, json=body) as response:
            reason = ""
            if response.status >= 400 and route.method != "HEAD":
                status = await response.json()
                assert status["kind"] == "Status", route
                reason = status["reason"]
            found[route] = Answer(response.status, reason)
    return found


@pytest.fixture
async def populated(folder: Path) -> AsyncIterator[Api]:
    async with serving(folder, audit={"level": "off"}) as api:
        await api.call("POST", f"{GROUP}/namespaces/default/virtualmachines", machine("web"))
        await api.call("POST", "/api/v1/namespaces/default/configmaps", config_map("map"))
        secret = {"metadata": {"name": "secret"}, "stringData": {"key": "canary"}}
        await api.call("POST", "/api/v1/namespaces/default/secrets", secret)
        yield api


async def refused(api: Api, headers: dict[str, str] | None) -> None:
    """Assert that every route says 401, and that nothing changes."""
    before = await api.version()
    async with over_tls(api) as client:
        answers = await walk(client, headers)
    passed = {str(route): answer for route, answer in answers.items() if answer.status != 401}
    assert passed == {}
    assert await api.version() == before


async def test_nobody_passes_without_a_credential(populated: Api) -> None:
    await refused(populated, None)


@pytest.mark.parametrize("what", ["unknown", "wrong", "expired", "revoked", "foreign"])
async def test_a_bad_token_passes_nowhere(populated: Api, what: str) -> None:
    secrets = "/api/v1/namespaces/hyperd-system/secrets"
    value = await token(populated, "root", Role.ADMIN, expires=1.0 if what == "expired" else 4e9)
    if what == "unknown":
        value = value.replace("root", "toor")
    elif what == "wrong":
        value = value[:-1] + ("A" if value[-1] != "A" else "B")
    elif what == "revoked":
        assert (await populated.call("DELETE", f"{secrets}/root"))[0] == 200
    elif what == "foreign":
        other = populated.settings.state_dir / "other"
        await asyncio.to_thread(other.mkdir)
        async with serving(other) as second:
            value = await token(second, "root", Role.ADMIN)
    await refused(populated, bearer(value))


@pytest.mark.parametrize("what", ["foreign", "expired", "for servers"])
async def test_a_bad_certificate_ends_every_handshake(populated: Api, what: str) -> None:
    own = populated.settings.pki_dir
    pair = own / "server.crt", own / "server.key"
    if what == "foreign":
        other = Settings(state_dir=populated.settings.state_dir / "other", instance="other")
        made = await asyncio.to_thread(pki.ensure, other)
        pair = made.client.certificate, made.client.key
    elif what == "expired":
        pair = await asyncio.to_thread(client_certificate, own, "admin", "system:masters", days=-1 / 1440)
    context = ssl.create_default_context(cafile=str(own / "ca.crt"))
    context.load_cert_chain(*pair)
    before = await populated.version()
    connector = aiohttp.TCPConnector(ssl=context, force_close=True)
    base = f"https://localhost:{populated.server.port}"
    async with aiohttp.ClientSession(base, connector=connector) as client:
        # The handshake knows no route; a hundred stand for all.
        for route in ROUTES[:: max(1, len(ROUTES) // 100)]:
            with pytest.raises(aiohttp.ClientError):
                async with client.request(route.method, route.path):
                    pass
    assert await populated.version() == before


async def test_a_token_of_another_namespace_reads_the_catalogue_and_nothing_else(populated: Api) -> None:
    headers = bearer(await token(populated, "elsewhere", Role.ADMIN, "elsewhere"))
    before = await populated.version()
    async with over_tls(populated) as client:
        answers = await walk(client, headers)
    for route, answer in answers.items():
        if route.is_document:
            allowed = route.path not in ("/metrics", "/nothing")
        else:
            allowed = route.asks_about_oneself or (route.plural in CATALOGUE and route.reads)
        assert (answer.status != 403) is allowed, (str(route), answer)
        assert answer.status != 401
    assert await populated.version() == before


async def test_a_viewer_reads_all_but_secrets_and_changes_nothing(populated: Api) -> None:
    headers = bearer(await token(populated, "viewer", Role.VIEWER))
    before = await populated.version()
    async with over_tls(populated) as client:
        answers = await walk(client, headers)
    for route, answer in answers.items():
        if route.is_document:
            allowed = route.path != "/nothing"
        else:
            allowed = route.asks_about_oneself or (route.reads and route.plural != "secrets")
            allowed = allowed and not route.path.startswith(f"/apis/{subresources.GROUP}/")
        assert (answer.status != 403) is allowed, (str(route), answer)
        assert answer.status != 401
    assert await populated.version() == before


async def test_an_operator_also_connects_and_creates_operations(populated: Api) -> None:
    viewer = bearer(await token(populated, "viewer", Role.VIEWER))
    operator = bearer(await token(populated, "operator", Role.OPERATOR))
    before = await populated.version()
    async with over_tls(populated) as client:
        less, more = await walk(client, viewer), await walk(client, operator)
    gained = {f"{route.verb} {route.plural}/{route.subresource}" for route in ROUTES
              if less[route].status == 403 != more[route].status}  # fmt: skip
    assert gained == {
        "get virtualmachines/console",
        "get virtualmachines/vnc",
        "get virtualmachines/log",
        "get virtualmachines/portforward",
        "update virtualmachines/cancelevacuation",
        "create virtualmachineoperations/",
        "delete virtualmachineoperations/",
    }
    assert not [route for route in ROUTES if less[route].status != 403 and more[route].status == 403]
    assert await populated.version() == before


def _group_path(route: Route) -> str:
    return route.path.rsplit(f"/{route.plural}", 1)[0].split("/namespaces")[0]


async def test_the_walk_meets_every_resource_that_is_discovered(populated: Api) -> None:
    walked = {(_group_path(route), route.plural, route.subresource) for route in ROUTES if route.plural}
    _, groups = await populated.call("GET", "/apis")
    lists = ["/api/v1"]
    lists += [f"/apis/{one['groupVersion']}" for group in groups["groups"] for one in group["versions"]]
    for path in lists:
        _, found = await populated.call("GET", path)
        for resource in found["resources"]:
            name, _, subresource = resource["name"].partition("/")
            assert (path, name, subresource) in walked, resource["name"]


def test_questions_are_all_that_is_asked_without_being_kept() -> None:
    assert {kind.plural for kind in ASKED} - {kind.plural for kind in QUESTIONS} == {"tokenrequests"}
