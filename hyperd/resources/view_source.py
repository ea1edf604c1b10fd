"""Writes ``hyperd/resources/views/*.py``: every kind as ``TypedDict``s, for mypy alone.

``python -m hyperd.resources.view_source`` writes, ``--check`` only tells whether the files are current; a test
asks the same. Nothing imports the views at run time. A field is required where the stored object always has it:
the schema requires it or gives it a default. Enums stand for the strings that they equal, so a value that was read
is compared with ``==``, never with ``is``.
"""

from __future__ import annotations

import keyword
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from hyperd.resources.all import KINDS
from hyperd.resources.derived import ROOT, Derived
from hyperd.resources.kinds.base import Metadata, Resource
from hyperd.resources.schema.kind import Kind

VIEWS = ROOT / "hyperd" / "resources" / "views"
PACKAGE = "hyperd.resources.views"
_OF_THE_STORE = ("name", "uid", "resourceVersion", "creationTimestamp")
"""What of metadata every stored object has, whatever its schema says."""
_OF_EVERY_OBJECT = ("apiVersion", "kind", "metadata")
_SCALARS = {"string": "str", "integer": "int", "boolean": "bool", "number": "float"}
_WIDTH = 115


class _Module:
    """One file: its classes in the order of need, and what they import."""

    def __init__(self, of: str) -> None:
        self.of = of
        self.classes: dict[str, str] = {}
        self.imports: dict[str, set[str]] = {"typing": {"TypedDict"}}

    def use(self, module: str, name: str) -> str:
        self.imports.setdefault(module, set()).add(name)
        return name

    def add(self, name: str, base: str, fields: Mapping[str, str]) -> None:
        """A class of wire names → types; a name that Python reserves wants the functional form."""
        if all(field.isidentifier() and not keyword.iskeyword(field) for field in fields):
            body = "".join(f"    {field}: {type_}\n" for field, type_ in fields.items()) or "    pass\n"
            self.classes[name] = f"class {name}({base}):\n{body}"
        else:
            body = "".join(f'        "{field}": {type_},\n' for field, type_ in fields.items())
            self.classes[name] = f'{name} = TypedDict(\n    "{name}",\n    {{\n{body}    }},\n)\n'

    def text(self) -> str:
        head = (
            f'"""Views of what ``{self.of}`` declares.\n\n'
            'Written by ``python -m hyperd.resources.view_source``; for type checking only.\n"""'
        )
        standard = [_import(name, self.imports[name]) for name in sorted(self.imports) if "." not in name]
        ours = [_import(name, self.imports[name]) for name in sorted(self.imports) if "." in name]
        blocks = [head, "from __future__ import annotations", "\n".join(standard)]
        if ours:
            blocks.append("\n".join(ours))
        return "\n\n".join(blocks) + "\n\n\n" + "\n\n".join(self.classes.values())


def _import(module: str, names: set[str]) -> str:
    ordered = sorted(names, key=lambda name: (not name.isupper(), name))
    line = f"from {module} import {', '.join(ordered)}"
    if len(line) <= _WIDTH:
        return line
    return f"from {module} import (\n" + "".join(f"    {name},\n" for name in ordered) + ")"


class _Views:
    """All files, made kind by kind."""

    def __init__(self) -> None:
        self.modules: dict[str, _Module] = {}

    def module(self, name: str, of: str) -> _Module:
        return self.modules.setdefault(name, _Module(of))

    def model(self, model: type[BaseModel], user: _Module) -> str:
        """The name of the view of ``model`` in the file ``user``."""
        name = model.__module__.rpartition(".")[2]
        module = self.module(name, model.__module__)
        if model.__name__ not in module.classes:
            module.classes[model.__name__] = ""  # A place, before what refers back to it.
            self._add(module, model)
        if module is not user:
            user.use(f"{PACKAGE}.{name}", model.__name__)
        return model.__name__

    def _add(self, module: _Module, model: type[BaseModel]) -> None:
        fields = dict(model.model_fields)
        base = "TypedDict"
        if issubclass(model, Resource) and model is not Resource:
            base = self.model(Resource, module)
            for name in Resource.model_fields:
                fields.pop(name)
        written = {}
        for name, field in fields.items():
            wire = field.alias or name
            type_ = self.type(field.annotation, module)
            if not _is_always_there(model, wire, field):
                type_ = f"{module.use('typing', 'NotRequired')}[{type_}]"
            written[wire] = type_
        del module.classes[model.__name__]
        module.add(model.__name__, base, written)

    def type(self, annotation: Any, module: _Module) -> str:
        """The annotation as the JSON has it: without constraints, and absent where Python says None."""
        origin, args = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            return self.type(args[0], module)
        if origin in (Union, types.UnionType):
            return " | ".join(self.type(arg, module) for arg in args if arg is not type(None))
        if origin is list:
            return f"list[{self.type(args[0], module)}]"
        if origin is dict:
            return f"dict[{self.type(args[0], module)}, {self.type(args[1], module)}]"
        if annotation is Any:
            return "object"
        if issubclass(annotation, BaseModel):
            return self.model(annotation, module)
        if issubclass(annotation, Enum):
            return module.use(annotation.__module__, annotation.__name__)
        if annotation not in (str, int, float, bool):
            raise TypeError(f"No view is known of the type {annotation!r}.")
        return str(annotation.__name__)

    def core(self, kind: Kind, schema: Mapping[str, Any]) -> None:
        """A kind of Kubernetes, of the schema that we give it."""
        module = self.module("core", "hyperd.resources.core.schemas")
        base = self.model(Resource, module)
        own = {name: node for name, node in schema["properties"].items() if name not in _OF_EVERY_OBJECT}
        module.add(kind.kind, base, dict(self._nodes(module, kind.kind, own, schema.get("required", ()))))

    def _nodes(
        self, module: _Module, path: str, nodes: Mapping[str, Any], required: Sequence[str]
    ) -> Iterator[tuple[str, str]]:
        for name, node in nodes.items():
            type_ = self._node(module, path + name[0].upper() + name[1:], node)
            yield name, type_ if name in required else f"{module.use('typing', 'NotRequired')}[{type_}]"

    def _node(self, module: _Module, path: str, node: Mapping[str, Any]) -> str:
        if node.get("x-kubernetes-int-or-string"):
            return "str | int"
        if node.get("type") == "array":
            return f"list[{self._node(module, path + 'Item', node['items'])}]"
        if "properties" in node:
            fields = dict(self._nodes(module, path, node["properties"], node.get("required", ())))
            module.add(path, "TypedDict", fields)
            return path
        if "additionalProperties" in node:
            return f"dict[str, {self._node(module, path + 'Value', node['additionalProperties'])}]"
        return _SCALARS.get(node.get("type", ""), "object")


def _is_always_there(model: type[BaseModel], wire: str, field: FieldInfo) -> bool:
    if model is Metadata:
        return wire in _OF_THE_STORE
    if model is Resource:
        return True
    return field.is_required() or (field.default is not None and field.default_factory is None)


def derived() -> Derived:
    """Every file with the content it should have."""
    views = _Views()
    for kind in KINDS:
        if kind.model is not None:
            views.model(kind.model, views.module(kind.model.__module__.rpartition(".")[2], kind.model.__module__))
        elif kind.openapi is not None and "properties" in kind.openapi:
            views.core(kind, kind.openapi)
    files = {VIEWS / f"{name}.py": module.text() for name, module in views.modules.items() if module.classes}
    files[VIEWS / "__init__.py"] = ""
    return Derived("hyperd.resources.view_source", files, VIEWS.glob("*.py"))


if __name__ == "__main__":
    sys.exit(derived().main())
