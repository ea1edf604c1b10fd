"""Tokens of a cluster, which its API server judges."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from hyperd.api.access.token_review import user_of
from hyperd.errors import Unauthorized
from hyperd.store.interface import User


class Server:
    """Answers with one status, and keeps what it was asked."""

    def __init__(self, status: dict[str, Any]) -> None:
        self.status = status
        self.asked: list[str] = []

    async def request(self, method: str, path: str, *, body: bytes | None = None) -> dict[str, Any]:
        assert (method, path) == ("POST", "/apis/authentication.k8s.io/v1/tokenreviews")
        self.asked.append(orjson.loads(body or b"")["spec"]["token"])
        return {"status": self.status}


async def test_it_is_whom_the_api_server_says() -> None:
    user = {"username": "u", "uid": "1", "groups": ["a", "b"], "extra": {"k": ["v"]}}
    server = Server({"authenticated": True, "user": user})
    assert await user_of(server, "Bearer  abc ") == User("u", ("a", "b"), uid="1", extra=(("k", ("v",)),))
    assert server.asked == ["abc"]


@pytest.mark.parametrize(
    "status",
    [{}, {"authenticated": False}, {"authenticated": "true", "user": {"username": "u"}}, {"authenticated": True}],
)
async def test_what_it_does_not_vouch_for_is_nobody(status: dict[str, Any]) -> None:
    with pytest.raises(Unauthorized, match="does not know this token"):
        await user_of(Server(status), "Bearer abc")


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic abc", "abc", f"Bearer {'x' * (1 << 15)}"])
async def test_what_is_no_token_is_not_asked_about(header: str) -> None:
    server = Server({"authenticated": True, "user": {"username": "u"}})
    with pytest.raises(Unauthorized, match="a token of the cluster is needed"):
        await user_of(server, header)
    assert server.asked == []
