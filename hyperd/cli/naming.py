"""What a command line names: ``KIND NAME…``, or ``KIND/NAME…``, each word of its own kind."""

from __future__ import annotations

from hyperd.client import kinds
from hyperd.client.words import pairs
from hyperd.errors import BadRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperd.client.resource import Resource
    from hyperd.client.sync import Client


def each(client: Client, words: list[str]) -> list[tuple[Resource, str]]:
    """(kind, name) of ``kind/name`` words. Raises BadRequest where one of them is none: it would be guessed."""
    return [(kinds.resolve(kind, client)[0], name) for kind, name in pairs(words)]


def named(client: Client, words: list[str]) -> list[tuple[Resource, str]]:
    """(kind, name) of words in either form. Raises BadRequest where they name nothing."""
    if "/" in words[0]:
        return each(client, words)
    resource = kinds.resolve(words[0], client)[0]
    if not words[1:]:
        raise BadRequest("Say which objects: a kind and names, or kind/name.")
    return [(resource, name) for name in words[1:]]


def scope(client: Client, resource: Resource) -> str | None:
    """The namespace in which a command looks for objects of a kind; None of one without namespaces."""
    return client.home.namespace if resource.namespaced else None
