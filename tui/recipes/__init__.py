"""How some kinds are made: what is asked for, and with what one begins. One file a kind."""

from __future__ import annotations

import importlib
import pkgutil

from tui.recipe import Recipe


def load() -> dict[str, Recipe]:
    """Every recipe, by the plural of its kind."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return {name: importlib.import_module(f"{__name__}.{name}").RECIPE for name in names}
