"""Protobuf of core kinds: recorded from a Go client's shape, and never trusted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperd.api.wire import protobuf
from hyperd.errors import BadRequest, HyperdError, NotAcceptable, UnsupportedMediaType
from hyperd.resources.schema.kind import Object

OBJECTS: list[Object] = [
    {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "demo", "labels": {"a": "b"}}},
    {
        "kind": "Secret",
        "apiVersion": "v1",
        "metadata": {"name": "s", "namespace": "demo", "creationTimestamp": "2026-01-02T03:04:05Z"},
        "type": "Opaque",
        "data": {"k": "AP8=", "empty": ""},
        "immutable": False,
    },
    {
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": {"name": "c"},
        "data": {"k": "ü"},
        "binaryData": {"b": "AA=="},
    },
    {
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": {"name": "svc", "finalizers": ["a", "b"]},
        "spec": {
            "ports": [
                {"name": "a", "port": 80, "targetPort": 8080},
                {"name": "b", "port": 81, "targetPort": "http"},
            ],
            "selector": {"app": "x"},
            "allocateLoadBalancerNodePorts": False,
        },
    },
    {
        "kind": "Lease",
        "apiVersion": "coordination.k8s.io/v1",
        "metadata": {"name": "l"},
        "spec": {"holderIdentity": "me", "leaseTransitions": 0, "renewTime": "2026-01-02T03:04:05.678901Z"},
    },
    {
        "kind": "Event",
        "apiVersion": "v1",
        "metadata": {"name": "e", "generation": -1, "ownerReferences": [{"kind": "K", "name": "n", "uid": "u"}]},
        "involvedObject": {"kind": "Node", "name": "n"},
        "count": 3,
    },
    {
        "kind": "DeleteOptions",
        "apiVersion": "v1",
        "metadata": {},
        "preconditions": {"uid": "u"},
        "propagationPolicy": "Background",
        "gracePeriodSeconds": 0,
        "dryRun": ["All"],
    },
]


@pytest.mark.parametrize("obj", OBJECTS, ids=lambda obj: str(obj["kind"]))
def test_an_object_survives_the_way_there_and_back(obj: Object) -> None:
    expected = {key: value for key, value in obj.items() if not (key == "metadata" and not value)}
    assert protobuf.decode(protobuf.encode(obj)) == expected


def test_empty_scalars_of_go_mean_absent() -> None:
    metadata = b"\x0a\x04demo\x12\x00\x1a\x00\x38\x00\x42\x00"
    raw = b"\x0a" + bytes([len(metadata)]) + metadata + b"\x12\x00\x1a\x00"
    type_meta = b"\x0a\x02v1\x12\x09Namespace"
    envelope = (
        b"k8s\x00\x0a" + bytes([len(type_meta)]) + type_meta + b"\x12" + bytes([len(raw)]) + raw + b"\x1a\x00"
    )
    assert protobuf.decode(envelope) == {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "demo"}}


def test_a_kind_without_a_table_is_refused_in_words() -> None:
    with pytest.raises(NotAcceptable, match="'VirtualMachine'"):
        protobuf.encode({"kind": "VirtualMachine"})
    with pytest.raises(UnsupportedMediaType, match="''"):
        protobuf.decode(b"k8s\x00")


def test_other_bytes_are_refused() -> None:
    with pytest.raises(BadRequest, match="magic"):
        protobuf.decode(b'{"kind": "Namespace"}')


@given(st.binary(max_size=200), st.integers(0, len(OBJECTS) - 1), st.integers(0, 200))
def test_no_bytes_make_the_decoder_fail_in_another_way(noise: bytes, index: int, at: int) -> None:
    body = protobuf.encode(OBJECTS[index])
    for mutated in (b"k8s\x00" + noise, body[: at + 4], body[:at] + noise + body[at:]):
        try:
            protobuf.decode(mutated)
        except HyperdError:
            pass


def test_a_list_is_written() -> None:
    listed = {
        "kind": "SecretList",
        "apiVersion": "v1",
        "metadata": {"resourceVersion": "4"},
        "items": OBJECTS[1:2],
    }
    assert protobuf.encode(listed).startswith(b"k8s\x00")
