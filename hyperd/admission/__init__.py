"""Defaulting and validation beyond the schema: one function, ``review``, and one module a kind behind it."""

from hyperd.admission.context import Policy
from hyperd.admission.dispatch import review, reviewer

__all__ = ["Policy", "review", "reviewer"]
