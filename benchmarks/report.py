"""One line of JSON for each figure: the form that ``./dev bench`` prints and CI keeps."""

from __future__ import annotations

import json


def report(
    name: str,
    value: float,
    unit: str,
    baseline: str = "",
    baseline_value: float | None = None,
    goal: str = "",
    ok: bool | None = None,
) -> None:
    """Print one figure.

    ``baseline`` says what ``value`` is compared to, in the same unit; ``goal`` is what ``ok`` judges, in words.
    """
    ratio = round(value / baseline_value, 3) if baseline_value else None
    line = {
        "name": name,
        "value": round(value, 3),
        "unit": unit,
        "baseline": baseline,
        "baseline_value": None if baseline_value is None else round(baseline_value, 3),
        "ratio": ratio,
        "goal": goal,
        "ok": ok,
    }
    print(json.dumps(line), flush=True)


def beside(name: str, value: float, unit: str, embedded: float) -> None:
    """Print the figure that the Kubernetes home has for ``name``, next to the embedded home's of the same run."""
    report(f"{name}_on_kubernetes", value, unit, "the embedded home", embedded)
