"""Whatever bytes come: a refusal with a Status in time, no 5xx, no traceback in the log; the server goes on."""

from __future__ import annotations

import asyncio
import gzip
import logging
import re
import struct
from collections.abc import Iterator, Mapping

import orjson
import pytest

from hyperd.api.wire import bodies, protobuf
from tests.unit.api.conftest import GROUP, Api, config_map

MAPS = "/api/v1/namespaces/default/configmaps"
VMS = f"{GROUP}/namespaces/default/virtualmachines"
_SECONDS = 20.0


def request(
    method: str, path: str, body: bytes = b"", content_type: str = "application/json", *headers: bytes
) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: h\r\nContent-Type: {content_type}\r\n".encode()
    length = f"Content-Length: {len(body)}\r\n".encode() if body or method in ("POST", "PUT", "PATCH") else b""
    return head + length + b"".join(one + b"\r\n" for one in headers) + b"\r\n" + body


def _get(path: bytes, *headers: bytes) -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\nHost: h\r\n" + b"".join(one + b"\r\n" for one in headers) + b"\r\n"


def _post(body: bytes, content_type: str = "application/json", *headers: bytes) -> bytes:
    return request("POST", MAPS, body, content_type, *headers)


def _chunked(chunks: bytes, *headers: bytes) -> bytes:
    head = f"POST {MAPS} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n".encode()
    return head + b"".join(one + b"\r\n" for one in headers) + b"\r\n" + chunks


def _patch(body: bytes, content_type: str) -> bytes:
    return request("PATCH", f"{MAPS}/kept", body, content_type)


def _yaml(body: bytes) -> bytes:
    return _post(body, "application/yaml")


def _protobuf(body: bytes) -> bytes:
    return _post(body, protobuf.MEDIA_TYPE)


_BOMB = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9)) for n in range(8)
)
HTTP = {
    "noise": b"\x00\x01\x02\x03" * 64 + b"\r\n\r\n",
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,
    "an unknown method": b"FOO / HTTP/1.1\r\nHost: h\r\n\r\n",
    "an unknown version": b"GET / HTTP/9.9\r\nHost: h\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "no host": b"GET /version HTTP/1.1\r\n\r\n",
    "a long path": _get(b"/" + b"a" * 100_000),
    "a long header": _get(b"/version", b"X: " + b"a" * 100_000),
    "a thousand headers": _get(b"/version", *[b"X-%d: a" % n for n in range(1000)]),
    "NUL in a header": _get(b"/version", b"X: a\x00b"),
    "a header without a name": _get(b"/version", b": a"),
    "a folded header": _get(b"/version", b"X: a", b" b"),
    "bytes beyond ASCII in a header": _get(MAPS.encode(), b"Accept: \xff\xfe", b"User-Agent: \xff\xc3"),
    "a user beyond UTF-8": _get(MAPS.encode(), b"Impersonate-User: \xff\xc3"),
    "a user's group beyond UTF-8": _get(MAPS.encode(), b"Impersonate-User: a", b"Impersonate-Group: \xff"),
    "a user's extra beyond UTF-8": _get(MAPS.encode(), b"Impersonate-User: a", b"Impersonate-Extra-k: \xff"),
    "an agent beyond ASCII": _post(orjson.dumps(config_map("agent")), "application/json", b"User-Agent: \xff\xc3"),
    "two lengths": _post(b"{}", "application/json", b"Content-Length: 3"),
    "a length and chunks": _chunked(b"0\r\n\r\n", b"Content-Length: 5"),
    "a negative length": b"POST /api HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
    "a length that is none": b"POST /api HTTP/1.1\r\nHost: h\r\nContent-Length: 0x10\r\n\r\n",
    "an enormous length": b"POST "
    + MAPS.encode()
    + b" HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999\r\n\r\n",
    "a chunk size that is none": _chunked(b"xyz\r\n"),
    "an enormous chunk": _chunked(b"ffffffffffffffffff\r\n"),
    "a chunk longer than its size": _chunked(b"2\r\n{}{}{}\r\n0\r\n\r\n"),
    "an unknown transfer encoding": b"POST /api HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n",
    "a body shorter than said, then another request": _post(b"{}").replace(b"Length: 2", b"Length: 1"),
    "more than the query may hold": _get(MAPS.encode() + b"?" + b"&".join(b"a%d=1" % n for n in range(1000))),
    "broken escapes in the query": _get(MAPS.encode() + b"?labelSelector=%zz"),
    "escapes of no UTF-8 in the query": _get(MAPS.encode() + b"?labelSelector=%ff%fe&fieldSelector=%c3%28"),
    "raw bytes in the query": _get(MAPS.encode() + b"?labelSelector=\xff"),
    "raw bytes in the path": _get(MAPS.encode() + b"/\xff\xfe"),
    "escapes of no UTF-8 in the path": _get(MAPS.encode() + b"/%ff%fe"),
    "NUL in the path": _get(MAPS.encode() + b"/a%00b"),
    "broken escapes in the path": _get(MAPS.encode() + b"/%zz"),
    "an escaped slash": _get(MAPS.encode() + b"/..%2f..%2fsecrets"),
    "dots": _get(MAPS.encode() + b"/../secrets"),
    "escaped dots": _get(b"/api/v1/%2e%2e/%2e%2e/etc/passwd"),
    "twice escaped": _get(MAPS.encode() + b"/%252e%252e"),
    "many slashes": _get(b"/api" + b"/" * 5000 + b"v1"),
    "a control character in the path": _get(MAPS.encode() + b"/a%0d%0aX-Evil:%20b"),
    "the asterisk": b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
    "CONNECT": b"CONNECT example.org:443 HTTP/1.1\r\nHost: h\r\n\r\n",
    "an upgrade to nothing": _get(MAPS.encode() + b"/x", b"Connection: Upgrade", b"Upgrade: h2c"),
    "a strange expectation": _post(b"{}", "application/json", b"Expect: the unexpected"),
}
BODIES = {
    "arrays in arrays": _post(b"[" * 100_000),
    "closed arrays in arrays": _post(b"[" * 20_000 + b"]" * 20_000),
    "objects in objects": _post(b'{"a":' * 20_000 + b"1" + b"}" * 20_000),
    "objects in data": _post(b'{"metadata":{"name":"a"},"data":' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}"),
    "half a surrogate": _post(b'{"metadata":{"name":"a"},"data":{"k":"\\ud800"}}'),
    "no UTF-8": _post(b'{"metadata":{"name":"a"},"data":{"k":"\xff"}}'),
    "UTF-16": _post('{"metadata":{"name":"a"}}'.encode("utf-16")),
    "a byte order mark": _post(b'\xef\xbb\xbf{"metadata":{"name":"A"}}'),
    "NUL as a name": _post(b'{"metadata":{"name":"a\\u0000"}}'),
    "NaN": _post(b'{"metadata":{"name":"A"},"x":NaN}'),
    "an infinite number": _post(b'{"metadata":{"name":"A"},"x":1e999}'),
    "a number of a thousand digits": _post(b'{"metadata":{"name":"A"},"x":' + b"9" * 1000 + b"}"),
    "a number of a million digits": _post(b'{"metadata":{"name":"A"},"x":' + b"9" * 1_000_000 + b"}"),
    "a hundred thousand keys": _post(b"{" + b",".join(b'"k%d":1' % n for n in range(100_000)) + b"}"),
    "one key a thousand times": _post(b"{" + b",".join([b'"metadata":{}'] * 1000) + b"}"),
    "labels of the wrong types": _post(b'{"metadata":{"name":"a","labels":{"a":1},"annotations":[]}}'),
    "owners of the wrong types": _post(b'{"metadata":{"name":"a","ownerReferences":{"a":1},"finalizers":"x"}}'),
    "too large": _post(b'"' + b"a" * (4 << 20) + b'"'),
    "compressed": _post(gzip.compress(b"{}"), "application/json", b"Content-Encoding: gzip"),
    "YAML that grows": _yaml(_BOMB),
    "YAML that refers to itself": _yaml(b"&a [*a]"),
    "YAML of deep brackets": _yaml(b"[" * 20_000),
    "YAML of deep maps": _yaml(b"{a: " * 5_000),
    "YAML that constructs": _yaml(b"!!python/object/apply:os.system [id]"),
    "YAML of two documents": _yaml(b"a: 1\n---\nb: 2\n"),
    "YAML of strange values": _yaml(b"metadata: {name: A}\na: .nan\nb: .inf\nc: !!binary AA==\nd: 1:30\ne: 0o7"),
    "YAML of strange keys": _yaml(b"? [a]\n: b\n? {a: b}\n: c\n1: d\ntrue: e\nnull: f\n"),
    "YAML that merges": _yaml(b"<<: {a: b}\nmetadata: {name: A}\n"),
    "YAML of a number of many digits": _yaml(b"a: " + b"9" * 100_000),
    "YAML with a tab": _yaml(b"a:\n\t- b"),
    "YAML with NUL": _yaml(b"a: \x00"),
    "protobuf of nothing": _protobuf(b""),
    "protobuf without its magic": _protobuf(b"abc"),
    "protobuf cut off": _protobuf(b"k8s\x00\x0a\xff"),
    "protobuf longer than itself": _protobuf(b"k8s\x00\x0a\xff\xff\xff\xff\x0f"),
    "protobuf of another kind": _protobuf(protobuf.encode({"kind": "Secret", "apiVersion": "v1", "metadata": {}})),
    "protobuf noise": _protobuf(b"k8s\x00" + struct.pack("<64Q", *range(64))),
    "a patch of deep objects": _patch(b'{"a":' * 5_000 + b"1" + b"}" * 5_000, "application/merge-patch+json"),
    "a patch of deep metadata": _patch(
        b'{"metadata":{"annotations":' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}}", "application/merge-patch+json"
    ),
    "a patch of many operations": _patch(
        orjson.dumps([{"op": "copy", "from": "/data", "path": "/data/a"}] * 20_000), "application/json-patch+json"
    ),
    "a patch that doubles and doubles": _patch(
        orjson.dumps([{"op": "copy", "from": "/data", "path": f"/data/k{n}"} for n in range(64)]),
        "application/json-patch+json",
    ),
    "a patch with a strange pointer": _patch(
        b'[{"op":"add","path":"/data/~2","value":"x"},{"op":"add","path":"data","value":1}]',
        "application/json-patch+json",
    ),
    "a strategic patch with strange directives": _patch(
        b'{"$patch":"explode","data":{"$patch":1,"$retainKeys":{}}}', "application/strategic-merge-patch+json"
    ),
    "an apply that grows": _patch(_BOMB, "application/apply-patch+yaml"),
    "delete options of deep objects": request(
        "DELETE", f"{MAPS}/kept", b'{"preconditions":' * 900 + b"1" + b"}" * 900
    ),
    "a machine of the wrong types": request(
        "POST", VMS, b'{"metadata":{"name":"a"},"spec":{"cpu":[],"memory":7}}'
    ),
    "a machine of strange numbers": request(
        "POST", VMS, b'{"metadata":{"name":"a"},"spec":{"cpu":{"cores":1e400},"memory":{"size":"1e999999999Gi"}}}'
    ),
}


async def exchange(api: Api, data: bytes) -> bytes:
    """The server's first answer to ``data``."""
    reader, writer = await asyncio.open_unix_connection(str(api.settings.socket_path))
    try:
        writer.write(data)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _SECONDS)
        found = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        return head + await asyncio.wait_for(reader.readexactly(int(found[1]) if found else 0), _SECONDS)
    finally:
        writer.transport.abort()


def _faults(answer: bytes) -> Iterator[str]:
    head, body = answer.split(b"\r\n\r\n", 1)
    status = int(head.split(b" ", 2)[1])
    if status >= 500:
        yield f"status {status}"
    if b"Traceback" in answer:
        yield "a traceback"
    if status >= 400:
        refusal = orjson.loads(body)
        if (refusal["kind"], refusal["code"]) != ("Status", status) or not 0 < len(refusal["message"]) < 2000:
            yield f"{refusal}"[:500]


@pytest.mark.parametrize("group", [HTTP, BODIES], ids=["http", "bodies"])
async def test_hostile_bytes_are_refused_and_leave_no_trace(
    api: Api, group: Mapping[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    await api.call("POST", MAPS, config_map("kept", k="v" * 100))
    faults: dict[str, list[str]] = {}
    for name, data in group.items():
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            found = list(_faults(await exchange(api, data)))
        found += [str(record.exc_info) for record in caplog.records if record.exc_info]
        if found:
            faults[name] = found
    assert not faults
    assert (await api.call("GET", f"{MAPS}/kept"))[0] == 200


async def test_requests_in_a_row_are_answered_in_order(api: Api) -> None:
    reader, writer = await asyncio.open_unix_connection(str(api.settings.socket_path))
    paths = [b"/version", b"/nothing", MAPS.encode(), b"/healthz"] * 5
    writer.write(b"".join(_get(path) for path in paths[:-1]) + _get(paths[-1], b"Connection: close"))
    answers = (await asyncio.wait_for(reader.read(), _SECONDS)).split(b"HTTP/1.1 ")[1:]
    assert [int(answer[:3]) for answer in answers] == [200, 404, 200, 200] * 5
    writer.close()


async def test_a_watch_over_http_1_0_ends_with_its_connection(api: Api) -> None:
    reader, writer = await asyncio.open_unix_connection(str(api.settings.socket_path))
    writer.write(_get(f"{MAPS}?watch=1&timeoutSeconds=1".encode()).replace(b"HTTP/1.1", b"HTTP/1.0"))
    await reader.readuntil(b"\r\n\r\n")
    await api.call("POST", MAPS, config_map("seen"))
    event = orjson.loads(await asyncio.wait_for(reader.read(), _SECONDS))
    assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "seen")
    writer.close()


async def test_a_client_that_expects_it_is_told_to_go_on(api: Api) -> None:
    reader, writer = await asyncio.open_unix_connection(str(api.settings.socket_path))
    body = orjson.dumps(config_map("later"))
    whole = _post(body, "application/json", b"Expect: 100-continue")
    writer.write(whole.removesuffix(body))
    assert b"100 Continue" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _SECONDS)
    writer.write(body)
    assert b"201 Created" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _SECONDS)
    writer.close()


async def test_a_body_that_trickles_is_given_up(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "_READ_TIMEOUT", 0.2)
    reader, writer = await asyncio.open_unix_connection(str(api.settings.socket_path))
    writer.write(_post(b"{}").replace(b"Length: 2", b"Length: 200"))
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _SECONDS)
    assert b" 408 " in answer.split(b"\r\n")[0]
    writer.close()
