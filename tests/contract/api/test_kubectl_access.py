"""kubectl asks what one may do, and works with a token of a role."""

from __future__ import annotations

from tests.contract.api.conftest import Kubectl

TOKEN_REQUEST = {
    "apiVersion": "access.hyperd.local/v1alpha1",
    "kind": "TokenRequest",
    "metadata": {"name": "watcher"},
    "spec": {"role": "viewer", "namespaces": ["default"]},
}


async def test_what_the_administrator_may(kubectl: Kubectl) -> None:
    assert (await kubectl.run("auth", "can-i", "create", "vm")).strip() == "yes"
    assert (await kubectl.run("auth", "can-i", "*", "*", "-A")).strip() == "yes"
    assert "*.*" in await kubectl.run("auth", "can-i", "--list")
    who = await kubectl.run("auth", "whoami")
    assert "admin" in who
    assert "system:masters" in who


async def test_a_token_of_a_viewer(kubectl: Kubectl) -> None:
    manifest = kubectl.write("request.yaml", TOKEN_REQUEST)
    # kubectl asks the old OpenAPI document about kinds that cannot be patched, and there is none.
    create = ("create", "--validate=false", "-f", manifest)
    token = await kubectl.run(*create, "-o", "jsonpath={.status.token}")
    assert token.startswith("hyperd.watcher.")
    # The certificate of the kubeconfig would win in kubectl's own view; the server goes by the token.
    as_viewer = ("--token", token)
    who = await kubectl.run("auth", "whoami", *as_viewer)
    assert "token:watcher" in who
    assert "hyperd.local/namespaces" in who
    assert (await kubectl.run("auth", "can-i", "list", "vm", *as_viewer)).strip() == "yes"
    assert (await kubectl.run("auth", "can-i", "delete", "vm", *as_viewer, rc=1)).strip() == "no"
    assert (await kubectl.run("auth", "can-i", "get", "secrets", *as_viewer, rc=1)).strip() == "no"
    listed = await kubectl.run("auth", "can-i", "--list", *as_viewer)
    assert "virtualmachines.virtualization.deckhouse.io" in listed
    assert "web" in await kubectl.run("get", "vm", *as_viewer)
    refused = await kubectl.run("get", "vm", "-A", *as_viewer, rc=1)
    assert (
        "Error from server (Forbidden): virtualmachines.virtualization.deckhouse.io is forbidden: User" in refused
    )
    assert "at the cluster scope" in refused
    await kubectl.run("delete", "vm", "web", *as_viewer, rc=1)
    assert "logged in" in await kubectl.run("get", "vm", "--token", "hyperd.watcher.wrong", rc=1)
