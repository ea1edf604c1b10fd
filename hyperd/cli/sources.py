"""The texts that manifests come from: their YAML documents, and where in them a field stands."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    import yaml


@dataclass(frozen=True)
class Fault:
    """What is wrong with a manifest; ``where`` is ``file:line:column``, as editors jump to it."""

    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


@dataclass
class Source:
    """One text. ``name`` is its file, or ``stdin``."""

    name: str
    text: str
    faults: list[Fault] = field(default_factory=list)
    """What keeps its documents from being read."""
    _roots: list[yaml.Node | None] | None = None

    def documents(self) -> Iterator[tuple[int, Any]]:
        """Number and content of each document that can be read; empty ones are passed over."""
        if self.text.lstrip().startswith("{"):
            try:
                yield 0, json.loads(self.text)
                return
            except ValueError:
                pass
        import yaml

        try:
            for number, document in enumerate(yaml.load_all(self.text, _loader(self))):
                if document is not None:
                    yield number, document
        except yaml.YAMLError as err:
            # What follows cannot be told apart from what is wrong.
            mark = getattr(err, "problem_mark", None)
            self.faults.append(Fault(self._at(mark), getattr(err, "problem", None) or "it is not YAML"))

    def place(self, document: int, path: str) -> str:
        """Where ``spec.refs[0].name``, or as much of it as is there, stands; only the file for what is no YAML."""
        if self._roots is None:
            self._roots = list(_composed(self.text))
        root = self._roots[document] if document < len(self._roots) else None
        return self.name if root is None else self._at(_mark(root, path))

    def repeated(self, key: yaml.ScalarNode) -> None:
        """Note a key that its object has already."""
        self.faults.append(Fault(self._at(key.start_mark), f'the key "{key.value}" is there already'))

    def _at(self, mark: yaml.Mark | None) -> str:
        return f"{self.name}:{mark.line + 1}:{mark.column + 1}" if mark else self.name


def _loader(source: Source) -> type[yaml.SafeLoader]:
    import yaml

    class Loader(yaml.SafeLoader):
        def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
            node = super().compose_mapping_node(anchor)
            seen: set[str] = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode):
                    if key.value in seen:
                        source.repeated(key)
                    seen.add(key.value)
            return node

    # Kubernetes reads YAML 1.1 but keeps times as text: a timestamp type would not survive as JSON.
    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    return Loader


def _composed(text: str) -> Iterator[yaml.Node | None]:
    """The documents as trees of nodes, which know where they stand, up to one that is no YAML."""
    import yaml

    try:
        yield from yaml.compose_all(text, yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        return


def _mark(node: yaml.Node, path: str) -> yaml.Mark:
    """Follow ``path`` as far as it goes; of a field the place of its name, of an entry of a list its own."""
    import yaml

    mark = node.start_mark
    while path:
        if isinstance(node, yaml.SequenceNode):
            number, closed, rest = path.removeprefix("[").partition("]")
            if not closed or not number.isdecimal() or int(number) >= len(node.value):
                break
            node = node.value[int(number)]
            mark, path = node.start_mark, rest.removeprefix(".")
            continue
        if not isinstance(node, yaml.MappingNode):
            break
        found = max((pair for pair in node.value if _begins(path, pair[0].value)), key=_length, default=None)
        if found is None:
            break
        key, node = found
        mark, path = key.start_mark, path.removeprefix("[")[len(key.value) :].removeprefix("]").removeprefix(".")
    return mark


def _begins(path: str, key: Any) -> bool:
    """Whether ``path`` leads through ``key``; keys may have dots, and stand in brackets then."""
    if not isinstance(key, str):
        return False
    return path == key or path.startswith((f"{key}.", f"{key}[", f"[{key}]"))


def _length(pair: Any) -> int:
    return len(pair[0].value)
