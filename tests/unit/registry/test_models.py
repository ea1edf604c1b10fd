from __future__ import annotations

import re

import pytest

from registry.models import RegistryEndpoint

_NAME = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*")
"""What the distribution's registry takes."""


def names() -> list[str]:
    found = []
    for namespace in ("n", "n" * 63):
        for length in range(1, 254):
            found.append(
                f"vi/{namespace}/" + ("a-b.c--d." * 40)[: length - 1].rstrip("-.").ljust(length - 1, "x") + "z"
            )
    return found


@pytest.mark.parametrize("prefix", ["", "/team", "/a/very/long/prefix" * 5])
def test_every_name_has_a_repository_of_its_own_that_registries_take(prefix: str) -> None:
    endpoint = RegistryEndpoint(f"https://registry.example.com{prefix}")
    made = [endpoint.repository(name) for name in names()]
    assert len(set(made)) == len(set(names()))
    for name, repository in zip(names(), made, strict=True):
        whole = f"{endpoint.prefix}/{repository}".strip("/")
        assert len(whole) <= 255
        assert _NAME.fullmatch(repository)
        assert endpoint.repository(repository) == repository
        if len(f"{endpoint.prefix}/{name}".strip("/")) <= 255:
            assert repository == name
        assert endpoint.parse(endpoint.reference(repository, "u1")) == (repository, "u1")
