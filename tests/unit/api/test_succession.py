"""One CA of a cluster's daemons after the other: which step is due, and what is trusted meanwhile."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from hyperd import clock
from hyperd.api.certificates import pki
from hyperd.api.certificates.pki import Lasting
from hyperd.api.serving import clusterca
from hyperd.api.serving.evictions import Evictions
from hyperd.api.serving.succession import RENEW, Ca, Shared, read, written
from hyperd.errors import Forbidden, PermanentError
from hyperd.resources.schema.kind import Object
from hyperd.settings import Settings
from tests.parts import part

A, B = Ca(b"A\n", b"a"), Ca(b"B\n", b"b")
HOUR = 3600.0


def secret(**annotations: str) -> Object:
    return {"metadata": {"name": "hyperd-ca", "annotations": annotations}, "data": {"theirs": "eA=="}}


def test_each_step_is_taken_once_all_had_time_to_see_the_one_before() -> None:
    shared = Shared(A).announced(B, 1000)
    assert shared.bundle == b"A\nB\n", "the next one is trusted before it signs"
    assert shared.stepped(1000 + HOUR - 1, HOUR) is None
    signing = shared.stepped(1000 + HOUR, HOUR)
    assert signing is not None
    assert (signing.current, signing.former, signing.next) == (B, A, None)
    assert signing.bundle == b"B\nA\n", "who signs is the first"
    assert signing.stepped(1000 + HOUR, HOUR) is None
    over = signing.stepped(1000 + 2 * HOUR, HOUR)
    assert over is not None
    assert (over.current, over.former, over.bundle) == (B, None, b"B\n")
    assert over.stepped(1000 + 99 * HOUR, HOUR) is None


@pytest.mark.parametrize("shared", [Shared(A), Shared(A, next=B, since=7), Shared(B, former=A, since=9)])
def test_what_is_written_is_what_is_read(shared: Shared) -> None:
    made = written(shared, secret())
    assert read(made) == shared
    assert made["data"]["theirs"] == "eA=="
    assert read(written(Shared(A), made)) == Shared(A), "nothing of a step before stays"


def test_an_administrator_asks_for_another_one() -> None:
    asked = read(written(Shared(A, asked=True), secret(**{RENEW: "now", "other": "x"})))
    assert asked.asked
    assert Shared(A, asked=True, next=B).wants_another(0, 0) is False, "there is one already"
    assert asked.wants_another(0, 0)
    done = written(asked.announced(B, 5), secret(**{RENEW: "now", "other": "x"}))
    assert done["metadata"]["annotations"] == {"other": "x"}


def test_another_one_is_wanted_before_a_leaf_would_outlive_it(tmp_path: Path) -> None:
    lasting = Lasting(leaf=100, ca=1000, renew_before=10)
    made = pki.ensure_in(tmp_path, "test", ("localhost",), client="c", group="", lasting=lasting)
    shared = Shared(Ca(made.ca.certificate.read_bytes(), made.ca.key.read_bytes()))
    begun = shared.current.ends - 1000
    assert not shared.wants_another(begun, remaining=900)
    assert shared.wants_another(begun + 101, remaining=900)


@pytest.mark.parametrize("data", [{}, {"tls.crt": "eA=="}, {"tls.crt": "?", "tls.key": "eA=="}])
def test_half_a_ca_is_an_error_that_says_what_to_do(data: Object) -> None:
    with pytest.raises(PermanentError, match="delete it to have one made"):
        read({"metadata": {}, "data": data})


def test_what_is_no_certificate_is_an_error_too() -> None:
    shared = read(
        {"metadata": {}, "data": {name: base64.b64encode(b"x").decode() for name in ("tls.crt", "tls.key")}}
    )
    with pytest.raises(PermanentError, match="has no CA"):
        shared.wants_another(0, 0)


def test_evictions_are_answered_where_any_daemon_may_have_said() -> None:
    one, two = Evictions(None), Evictions(None)  # type: ignore[arg-type]
    one.use(A.key, (B.key,))
    two.use(B.key, (A.key,))
    assert one.path != two.path
    assert all(each.owns(path) for each in (one, two) for path in (one.path, two.path))
    one.use(B.key)
    two.use(A.key)
    assert not one.owns(two.path)


def made_in(folder: Path) -> Ca:
    made = pki.ensure_in(folder, "test", ("localhost",), client="c", group="")
    return Ca(made.ca.certificate.read_bytes(), made.ca.key.read_bytes())


class Server:
    """What an API server says of the Secret, by its own clock."""

    def __init__(self, secret: Object, now: float) -> None:
        self.secret = secret
        self.now = now
        self.fault: Exception | None = None
        self.written: list[Object] = []

    async def request(self, method: str, path: str, *, query: object = (), body: bytes = b"") -> Object:
        if method == "POST":
            assert path.endswith("/configmaps")
            assert query == [("dryRun", "All")], "nothing is left of it"
            if self.fault is not None:
                raise self.fault
            stamp = datetime.fromtimestamp(self.now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            return {"metadata": {"creationTimestamp": stamp}}
        if method == "PUT":
            self.written.append(orjson.loads(body))
        return self.secret


@pytest.mark.parametrize(
    ("ahead", "fault", "taken"),
    [(0, None, 1), (200, None, 1), (-200, None, 1), (4000, None, 0), (-4000, None, 0), (0, Forbidden("No."), 0)],
)
async def test_a_step_is_taken_by_the_clock_that_all_have(
    tmp_path: Path, ahead: float, fault: Exception | None, taken: int
) -> None:
    """One node whose clock leapt would have a CA sign that begins, for everybody else, in years."""
    ca, now = await asyncio.to_thread(made_in, tmp_path / "ca"), clock.wall()
    server = Server(written(Shared(ca, next=ca, since=now - 2 * HOUR), secret()), now - ahead)
    server.fault = fault
    settings = Settings(state_dir=tmp_path / "state", run_dir=tmp_path / "run")
    obtained = await clusterca.obtain(part(server), settings)
    assert len(server.written) == taken
    assert obtained.key == ca.key, "either way it serves"
