"""What turns of benchmarks on two sides say."""

from __future__ import annotations

import pytest

from benchmarks.against.compare import compare


def test_a_cost_that_is_surely_higher_is_worse_and_one_within_the_noise_is_not() -> None:
    theirs = [1.0, 1.1, 0.9, 1.0, 1.05, 0.95, 1.0, 1.02, 0.98, 1.0]
    doubled = compare([2 * one for one in theirs], theirs)
    assert doubled is not None
    assert doubled.worse
    assert doubled.mean == pytest.approx(2)
    noisy = compare([1.5, 0.7, 1.4, 0.8, 1.3, 0.9, 1.2, 0.9, 1.1, 1.0], theirs)
    assert noisy is not None
    assert not noisy.worse
    assert noisy.low < 1 < noisy.high


def test_load_that_meets_both_sides_alike_does_not_count() -> None:
    theirs = [1.0, 5.0, 2.0, 9.0]
    ratio = compare([1.1 * one for one in theirs], theirs)
    assert ratio is not None
    assert [ratio.low, ratio.high] == pytest.approx([1.1, 1.1])
    assert str(ratio).startswith("+10.0 %")


def test_what_cannot_be_divided_is_not_compared() -> None:
    assert compare([1.0, 0.0], [1.0, 1.0]) is None
    assert compare([1.0], [1.0]) is None
    assert compare([1.0, 1.0], []) is None
