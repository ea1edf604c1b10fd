"""The API server is asked once, for a short while, and what it does not answer is no yes."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from hyperd.api.access.access_review import AccessReviews
from hyperd.api.access.authorization import Attributes
from hyperd.errors import ServiceUnavailable
from hyperd.resources.schema.kind import Object
from hyperd.store.interface import User

ALICE = User("alice", ("system:authenticated",), uid="7", extra=(("team", ("blue",)),))
CONSOLE = Attributes("get", "g", "virtualmachines", "console", "default", "web")


class ApiServer:
    """Answers each review with the next of ``answers``, the last one for ever."""

    def __init__(self, *answers: Object) -> None:
        self._answers = list(answers)
        self.asked: list[Any] = []

    async def request(self, method: str, path: str, *, body: bytes | None = None) -> Object:
        assert (method, path) == ("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews")
        self.asked.append(orjson.loads(body or b"")["spec"])
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if not answer:
            raise ServiceUnavailable("The Kubernetes API server cannot be reached.")
        return answer


YES: Object = {"status": {"allowed": True}}
NO: Object = {"status": {"allowed": False}}


async def test_the_question_has_all_that_is_known_of_the_user() -> None:
    server = ApiServer(YES)
    assert await AccessReviews(server).allows(ALICE, CONSOLE)
    assert await AccessReviews(server).allows(ALICE, Attributes("get", path="/apis"))
    resource, path = server.asked
    assert resource == {
        "user": "alice",
        "groups": ["system:authenticated"],
        "uid": "7",
        "extra": {"team": ["blue"]},
        "resourceAttributes": {
            "verb": "get",
            "group": "g",
            "resource": "virtualmachines",
            "subresource": "console",
            "namespace": "default",
            "name": "web",
        },
    }
    assert path["nonResourceAttributes"] == {"path": "/apis", "verb": "get"}


@pytest.mark.parametrize(("answer", "allowed"), [(YES, True), (NO, False)])
async def test_an_answer_is_kept_for_the_same_question_alone(answer: Object, allowed: bool) -> None:
    server = ApiServer(answer)
    reviews = AccessReviews(server)
    for _ in range(3):
        assert await reviews.allows(ALICE, CONSOLE) is allowed
    assert len(server.asked) == 1
    await reviews.allows(User("bob"), CONSOLE)
    await reviews.allows(ALICE, Attributes("get", "g", "virtualmachines", "vnc", "default", "web"))
    assert len(server.asked) == 3


async def test_an_answer_ages() -> None:
    server = ApiServer(YES, NO)
    reviews = AccessReviews(server, allowed_seconds=0, denied_seconds=60)
    assert await reviews.allows(ALICE, CONSOLE) is True
    assert await reviews.allows(ALICE, CONSOLE) is False, "what was taken away is gone"
    assert await reviews.allows(ALICE, CONSOLE) is False
    assert len(server.asked) == 2


@pytest.mark.parametrize("answer", [{"status": {"allowed": True, "denied": True}}, {"status": {}}, {"kind": "x"}])
async def test_what_is_no_plain_yes_is_no(answer: Object) -> None:
    assert not await AccessReviews(ApiServer(answer)).allows(ALICE, CONSOLE)


async def test_silence_is_an_error_and_not_kept() -> None:
    server = ApiServer({}, YES)
    reviews = AccessReviews(server)
    with pytest.raises(ServiceUnavailable):
        await reviews.allows(ALICE, CONSOLE)
    assert await reviews.allows(ALICE, CONSOLE)


async def test_masters_are_not_asked_about() -> None:
    server = ApiServer(NO)
    assert await AccessReviews(server).allows(User("root", ("system:masters",)), CONSOLE)
    assert server.asked == []
