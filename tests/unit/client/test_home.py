"""Which home is meant, and what a kubeconfig says of it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from hyperd.client.finding import find
from hyperd.client.home import DEFAULT_SOCKET
from hyperd.client.kubeconfig import load, merge
from hyperd.errors import BadRequest, NotFound


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HYPERD_SOCKET", "KUBECONFIG", "HV_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def config(**user: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "lab",
        "clusters": [
            {
                "name": "c",
                "cluster": {"server": "https://10.0.0.1:6480/base", "certificate-authority-data": b64("CA")},
            }
        ],
        "contexts": [{"name": "lab", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
        "users": [{"name": "u", "user": user}],
    }


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def write(path: Path, document: dict[str, Any]) -> str:
    path.write_text(json.dumps(document))
    return str(path)


def test_the_daemon_of_this_machine_is_the_default() -> None:
    assert find().socket == DEFAULT_SOCKET


def test_a_flag_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERD_SOCKET", "/run/other.sock")
    monkeypatch.setenv("HV_NAMESPACE", "lab")
    assert (find().socket, find().namespace) == ("/run/other.sock", "lab")
    assert (find(socket="/tmp/x.sock").socket, find(namespace="shop").namespace) == ("/tmp/x.sock", "shop")


def test_a_context_brings_server_login_and_namespace(tmp_path: Path) -> None:
    path = write(tmp_path / "k", config(**{"client-certificate-data": b64("CERT"), "client-key-data": b64("KEY")}))
    home = find(kubeconfig=path)
    assert (home.host, home.port, home.prefix, home.tls) == ("10.0.0.1", 6480, "/base", True)
    assert (home.ca, home.certificate, home.key, home.namespace) == (b"CA", b"CERT", b"KEY", "shop")


def test_files_named_in_it_are_found_beside_it(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    assert find(kubeconfig=write(tmp_path / "k", config(tokenFile="token"))).token == "secret"


def test_yaml_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "k"
    path.write_text(
        "current-context: a\ncontexts:\n- name: a\n  context: {cluster: c, user: u}\n"
        "clusters:\n- name: c\n  cluster: {server: http://h:80}\nusers:\n- name: u\n  user: {token: t}\n"
    )
    assert find(kubeconfig=str(path)).token == "t"


def test_of_several_files_the_first_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = config(token="one"), config(token="two")
    second["contexts"].append({"name": "edge", "context": {"cluster": "c", "user": "u"}})
    monkeypatch.setenv("KUBECONFIG", f"{write(tmp_path / 'a', first)}:{write(tmp_path / 'b', second)}")
    assert find().token == "one"
    assert find(context="edge").name == "edge"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"current-context": ""}, "no current context"),
        ({"current-context": "x"}, 'no context "x"'),
        ({"clusters": []}, 'names the cluster "c"'),
        ({"users": [{"name": "u", "user": {"exec": {}}}]}, "plug-in"),
        ({"clusters": [{"name": "c", "cluster": {"server": "ftp://h"}}]}, "not an http"),
    ],
)
def test_what_does_not_fit_is_said_in_a_sentence(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    path = write(tmp_path / "k", {**config(token="t"), **change})
    with pytest.raises((BadRequest, NotFound), match=sentence):
        find(kubeconfig=path)


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no kubeconfig"):
        load([str(tmp_path / "none")])
    (tmp_path / "bad").write_text("a: [")
    with pytest.raises(BadRequest, match="neither JSON nor YAML"):
        load([str(tmp_path / "bad")])


def test_merging_replaces_what_has_the_same_name_and_keeps_the_rest() -> None:
    mine = config(token="mine")
    mine["users"].append({"name": "other", "user": {"token": "kept"}})
    merged = merge(mine, config(token="new"))
    assert [entry["user"]["token"] for entry in merged["users"]] == ["kept", "new"]
    assert merged["current-context"] == "lab"
