"""Who reads quotas, and who sets them."""

from __future__ import annotations

import pytest

from hyperd.roles import Role
from tests.unit.api.conftest import Api
from tests.unit.api.test_identity import bearer, token

PLACE = "/api/v1/namespaces/default/resourcequotas"
QUOTA = {"metadata": {"name": "q"}, "spec": {"hard": {"secrets": "1"}}}


@pytest.mark.parametrize("within", ["", "default"], ids=["everywhere", "in its namespace"])
@pytest.mark.parametrize("role", list(Role), ids=str)
async def test_everybody_reads_quotas_and_administrators_of_all_set_them(
    api: Api, role: Role, within: str
) -> None:
    headers = bearer(await token(api, "one", role, *([within] if within else [])))
    may = role is Role.ADMIN and not within
    assert (await api.call("GET", PLACE, headers=headers))[0] == 200
    assert (await api.call("POST", PLACE, QUOTA, headers=headers))[0] == (201 if may else 403)
    if not may:
        await api.call("POST", PLACE, QUOTA)
    typed = {**headers, "Content-Type": "application/merge-patch+json"}
    patch = {"spec": {"hard": {"secrets": "9"}}}
    assert (await api.call("PATCH", f"{PLACE}/q", patch, headers=typed))[0] == (200 if may else 403)
    assert (await api.call("DELETE", f"{PLACE}/q", headers=headers))[0] == (200 if may else 403)
