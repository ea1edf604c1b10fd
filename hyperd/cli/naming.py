"""What a command line names: ``KIND NAME…``, or ``KIND/NAME…``, each word of its own kind."""

from __future__ import annotations

import sys

from hyperd.client import kinds
from hyperd.client.words import pairs
from hyperd.errors import BadRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from hyperd.client.resource import Resource
    from hyperd.client.sync import Client

    Named = tuple[Resource, str | None, str]
    """An object that a command is about: kind, namespace (None where the kind has none) and name."""


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


def placed(client: Client, words: list[str]) -> list[Named]:
    """What words name, each in its namespace. Raises BadRequest where they name nothing."""
    return [(kind, scope(client, kind), name) for kind, name in named(client, words)]


def chosen(client: Client, args: argparse.Namespace, words: list[str]) -> list[Named]:
    """What words name, or all of one kind that ``args.selector`` and ``args.all`` choose. Raises BadRequest."""
    if not (args.selector or args.all):
        return placed(client, words)
    if len(words) != 1 or "/" in words[0]:
        raise BadRequest("Name the objects, or choose them with -l or --all.")
    resource = kinds.resolve(words[0], client)[0]
    namespace = scope(client, resource)
    items = client.list(resource, namespace, labels=args.selector).get("items") or ()
    if not items:
        print(f"No {resource.plural} to {args.command} here.", file=sys.stderr)
    return [(resource, namespace, item["metadata"]["name"]) for item in items]
