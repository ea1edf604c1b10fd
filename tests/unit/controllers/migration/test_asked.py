"""What is asked by another node is read as if anybody had written it."""

from __future__ import annotations

import base64
from ipaddress import IPv4Address
from typing import Any

import pytest

from hyperd.controllers.migration.asked import Asked, AskedVolume
from hyperd.errors import PermanentError

OPERATION = "9b1c54f0-2f7d-4c1e-8f52-0c6a3e1d2b4f"
DISK = "1d6f0a33-58f5-4f54-9a86-0e7f6b1c2d3e"
VOLUME = {"uid": DISK, "name": "root", "provisioner": "hyperd.local/directory", "size": 1 << 20}
ASKED: dict[str, Any] = {
    "namespace": "shop",
    "name": "web",
    "from": "there",
    "operation": OPERATION,
    "pod": "virt-launcher-web-1",
    "address": "10.66.10.2",
    "volumes": [VOLUME],
    "seed": base64.b64encode(b"seed").decode(),
}


def test_what_is_well_formed_is_taken() -> None:
    asked = Asked.read(ASKED)
    assert asked.volumes == (AskedVolume(DISK, "root", "hyperd.local/directory", 1 << 20),)
    assert (asked.seed, asked.address, asked.source) == (b"seed", IPv4Address("10.66.10.2"), "there")
    bare = Asked.read({key: ASKED[key] for key in ("namespace", "name", "from", "operation", "pod")})
    assert (bare.seed, bare.address, bare.volumes) == (None, None, ())


@pytest.mark.parametrize("body", [None, [], "x", 1, {}])
def test_what_is_no_question_is_refused(body: object) -> None:
    with pytest.raises(PermanentError, match="question of another node"):
        Asked.read(body)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("operation", "../../../etc"),
        ("operation", OPERATION + "\n"),
        ("operation", OPERATION.upper()),
        ("operation", None),
        ("name", ""),
        ("name", "a" * 254),
        ("name", "a\0b"),
        ("name", ["web"]),
        ("namespace", {}),
        ("from", 7),
        ("pod", None),
        ("address", "10.66.10.2/8"),
        ("address", "::1"),
        ("address", 3232235777),
        ("seed", "not base64!"),
        ("seed", {"a": 1}),
        ("connections", {"a": 1}),
        ("connections", [[6, "10.1.0.1", 1, "10.66.10.2", 80]] * 1025),
        *(
            ("connections", [one])
            for one in (
                None,
                [],
                [6],
                [6, "10.1.0.1", 1, "10.66.10.2"],
                [1, "10.1.0.1", 1, "10.66.10.2", 80],
                [6, "::1", 1, "10.66.10.2", 80],
                [6, "10.1.0.1", 0, "10.66.10.2", 80],
                [6, "10.1.0.1", 1, "10.66.10.2", 1 << 16],
                [6, "10.1.0.1", "1", "10.66.10.2", 80],
            )
        ),
        ("volumes", {"uid": DISK}),
        ("volumes", "x"),
        ("volumes", [VOLUME] * 65),
        ("volumes", [None]),
        ("volumes", [{**VOLUME, "uid": "../x"}]),
        ("volumes", [{**VOLUME, "name": "\x1b[2J"}]),
        ("volumes", [{**VOLUME, "provisioner": 1}]),
        ("volumes", [{**VOLUME, "size": 0}]),
        ("volumes", [{**VOLUME, "size": -1}]),
        ("volumes", [{**VOLUME, "size": 1 << 60}]),
        ("volumes", [{**VOLUME, "size": "1Gi"}]),
        ("volumes", [{**VOLUME, "size": 1.5}]),
    ],
)
def test_hostile_fields_are_refused(field: str, value: object) -> None:
    with pytest.raises(PermanentError):
        Asked.read({**ASKED, field: value})
