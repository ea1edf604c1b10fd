"""What a client may not say of an object: its status, where it belongs to us, and what the system gives it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hyperd.api.wire import routes
from hyperd.resources.all import KINDS
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.values.names import GROUP
from hyperd.roles import Role
from tests.unit.api.conftest import GROUP as PREFIX
from tests.unit.api.conftest import Api, machine, serving
from tests.unit.api.test_identity import bearer, over_tls, token

SENTENCE = "so hyperd alone writes it"
WITH_STATUS = [kind for kind in KINDS.served() if kind.group == GROUP and "status" in kind.subresources]
PATCHES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/apply-patch+yaml",
)


async def test_a_status_is_written_by_hyperd_and_root(api: Api) -> None:
    logins = {
        **{str(role): bearer(await token(api, role.value, role)) for role in Role},
        "in its namespace": bearer(await token(api, "local", Role.ADMIN, "default")),
        "made up": {"Impersonate-User": "eve", "Impersonate-Group": Role.ADMIN.group},
    }
    for kind in WITH_STATUS:
        await _try(api, kind, logins)


async def _try(api: Api, kind: Kind, logins: Mapping[str, Mapping[str, str]]) -> None:
    place = f"{routes.prefix(kind)}{'/namespaces/default' if kind.namespaced else ''}/{kind.plural}/x/status"
    for who, headers in logins.items():
        for method, type_ in (("PUT", "application/json"), *(("PATCH", one) for one in PATCHES)):
            body: Object | list[Object] = [] if "json-patch" in type_ else {"status": {"phase": "Ready"}}
            typed = {**headers, "Content-Type": type_}
            status, answer = await api.call(method, f"{place}?fieldManager=m", body, headers=typed)
            assert (status, answer["reason"]) == (403, "Forbidden"), (who, method, answer)
            assert SENTENCE in answer["message"]
    status, answer = await api.call("PUT", place, {"status": {}, "metadata": {"name": "x"}})
    assert status in (404, 422), answer
    typed = {"Content-Type": PATCHES[1]}
    async with over_tls(api, admin=True) as client, client.patch(place, json={}, headers=typed) as response:
        assert response.status == 404


async def test_an_administrator_does_not_become_root_by_asking(api: Api) -> None:
    headers = {
        **bearer(await token(api, "root", Role.ADMIN)),
        "Impersonate-User": "eve",
        "Impersonate-Group": "system:masters",
    }
    status, answer = await api.call("GET", "/api/v1/namespaces", headers=headers)
    assert (status, answer["reason"]) == (403, "Forbidden")
    headers["Impersonate-Group"] = Role.ADMIN.group
    assert (await api.call("GET", "/api/v1/namespaces", headers=headers))[0] == 200


FORGED = {
    "uid": "11111111-2222-3333-4444-555555555555",
    "creationTimestamp": "2001-01-01T00:00:00Z",
    "generation": 77,
    "selfLink": "/forged",
}


async def test_what_the_system_gives_cannot_be_brought_along(folder: Path) -> None:
    async with serving(folder, admission=False) as api:
        place = f"{PREFIX}/namespaces/default/virtualmachines"
        status, made = await api.call("POST", place, {**machine("web", **FORGED), "status": {"nodeName": "x"}})
        assert status == 201
        assert "status" not in made
        meta = made["metadata"]
        assert all(meta.get(name) != value for name, value in FORGED.items())
        changed = {**made, "metadata": {**meta, **FORGED, "uid": meta["uid"], "labels": {"a": "b"}}}
        status, again = await api.call("PUT", f"{place}/web", {**changed, "status": {"nodeName": "x"}})
        assert status == 200, again
        assert "status" not in again
        for name in ("uid", "creationTimestamp", "generation", "selfLink"):
            assert again["metadata"].get(name) == meta.get(name)
        for type_, patch in (
            (PATCHES[1], {"metadata": FORGED, "status": {"nodeName": "x"}}),
            (PATCHES[0], [{"op": "add", "path": "/status", "value": {"nodeName": "x"}}]),
        ):
            status, again = await api.call("PATCH", f"{place}/web", patch, headers={"Content-Type": type_})
            if status == 200:
                assert "status" not in again
                assert all(again["metadata"].get(name) == meta.get(name) for name in FORGED)
            else:
                assert status in (409, 422), again
        _, kept = await api.call("GET", f"{place}/web")
        assert "status" not in kept
        assert kept["metadata"]["uid"] == meta["uid"]
