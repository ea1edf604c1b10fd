"""YAML in and out, as Kubernetes reads it. Imported on first use: most daemons only ever speak JSON."""

from __future__ import annotations

from typing import Any, cast

import orjson
import yaml

from hyperd.errors import BadRequest
from hyperd.resources.kind import Object


class _Loader(yaml.CSafeLoader):
    """Times stay text; duplicate keys are remembered."""

    duplicates: list[str]

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.value in seen:
                self.duplicates.append(str(key_node.value))
            if isinstance(key_node, yaml.ScalarNode):
                seen.add(key_node.value)
        return cast(dict[Any, Any], super().construct_mapping(node, deep))


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def load(body: bytes) -> tuple[Any, list[str]]:
    """One document as JSON values, and its duplicate keys. Raises BadRequest."""
    try:
        for event in yaml.parse(body, Loader=yaml.CSafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise BadRequest("the body uses YAML aliases, which are not accepted")
        loader = _Loader(body)
        loader.duplicates = []
        try:
            value = loader.get_single_data()
        finally:
            loader.dispose()
        # Keys become text, as in Kubernetes (``8080: x``); values that JSON does not have end here.
        return orjson.loads(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)), loader.duplicates
    except (yaml.YAMLError, RecursionError, TypeError, ValueError) as err:
        reason = str(err).replace("\n", " ")
        raise BadRequest(f"the body is not valid YAML: {reason}") from err


def dump(obj: Object) -> bytes:
    """``obj`` as a document."""
    text: str = yaml.dump(obj, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True)
    return text.encode()
