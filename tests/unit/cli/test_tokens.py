"""``hv token`` and ``hv kubeconfig --role``: an identity for somebody else, made, used and taken back."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from tests.tui.world import World
from tests.unit.cli.conftest import Hv


async def test_a_token_is_made_listed_and_revoked(hv: Hv) -> None:
    assert "no tokens" in (await hv("token", "list")).err
    made = await hv("token", "create", "ci", "--role", "editor", "-n", "shop", "-n", "lab", "--ttl", "30d")
    assert made.out.startswith("hyperd.ci.")
    assert "editor shop, lab, until 20" in made.err
    listed = await hv("token", "list")
    assert [line.split() for line in listed.out.splitlines()] == [
        ["NAME", "ROLE", "NAMESPACES", "ENDS", "AGE"],
        ["ci", "editor", "shop,lab", "in", "29d", listed.out.split()[-1]],
    ]
    assert made.out.strip() not in (await hv("get", "secrets", "-A", "-o", "yaml")).out
    assert "revoked" in (await hv("token", "revoke", "ci")).out
    assert 'no token "ci"' in (await hv("token", "revoke", "ci", code=1)).err
    assert "no tokens" in (await hv("token", "list")).err


async def test_a_token_needs_a_name_and_a_role(hv: Hv) -> None:
    assert "a role" in (await hv("token", "create", "ci", code=1)).err
    assert "hv token list" in (await hv("token", "revoke", code=1)).err
    assert "spec.namespaces[0]" in (await hv("token", "create", "x", "--role", "viewer", "-n", "A", code=1)).err


async def test_only_tokens_are_revoked(hv: Hv) -> None:
    made = json.loads((await hv("token", "create", "ci", "--role", "viewer", "-o", "json")).out)
    assert made["status"]["token"].startswith("hyperd.ci.")
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: other, namespace: hyperd-system}\n"
    await hv("apply", "-f", "-", stdin=secret)
    assert 'no token "other"' in (await hv("token", "revoke", "other", code=1)).err


async def test_a_kubeconfig_for_somebody_else(hv: Hv, world: World, tmp_path: Path) -> None:
    target = tmp_path / "shop.kubeconfig"
    source = str(world.settings.kubeconfig_path)
    made = await hv("kubeconfig", "--file", source, "--role", "viewer", "--namespace", "shop", "--name", "eve")
    assert 'Token "eve" ends' in made.err
    config = yaml.safe_load(made.out)
    assert config["contexts"][0]["context"]["namespace"] == "shop"
    assert list(config["users"][0]["user"]) == ["token"]
    target.write_text(made.out)
    as_eve = ("--kubeconfig", str(target))
    assert "web-7" in (await hv("get", "vm", *as_eve)).out
    refused = await hv("get", "vm", "-A", *as_eve, code=1)
    assert 'User "token:eve" cannot list resource "virtualmachines"' in refused.err
    assert "forbidden" in (await hv("delete", "vm", "web-7", *as_eve, code=1)).err

    token = config["users"][0]["user"]["token"]
    again = yaml.safe_load((await hv("kubeconfig", "--file", source, "--token", token)).out)
    assert again["users"] == config["users"]
    await hv("token", "revoke", "eve")
    assert "Unauthorized" in (await hv("get", "vm", *as_eve, code=1)).err
