"""The text that Prometheus reads."""

from __future__ import annotations

import asyncio

import pytest

from hyperd.api.wire.metrics import LoopLag, Metrics, Sample, process_samples, render


def test_samples_of_one_metric_stand_together_under_one_type() -> None:
    samples = [
        Sample("a_total", 1, (("x", "1"),), "counter", "Help."),
        Sample("b", 0.5),
        Sample("a_total", 2, (("x", 'q"u\\o\nte'),), "counter", "Help."),
    ]
    assert render(samples) == (
        "# HELP a_total Help.\n# TYPE a_total counter\n"
        'a_total{x="1"} 1\na_total{x="q\\"u\\\\o\\nte"} 2\n'
        "# TYPE b gauge\nb 0.5\n"
    )


def test_request_times_fall_into_cumulative_buckets() -> None:
    metrics = Metrics()
    for seconds in (0.0005, 0.004, 99.0):
        metrics.observe("get", "secrets", 200, seconds)
    text = metrics.render()
    labels = 'verb="get",resource="secrets"'
    assert f'_bucket{{{labels},le="0.001"}} 1\n' in text
    assert f'_bucket{{{labels},le="0.005"}} 2\n' in text
    assert f'_bucket{{{labels},le="10.0"}} 2\n' in text
    assert f'_bucket{{{labels},le="+Inf"}} 3\n' in text
    assert f"_count{{{labels}}} 3\n" in text


def test_watches_are_counted_and_not_timed() -> None:
    metrics = Metrics()
    metrics.observe("watch", "secrets", 200, 1800.0)
    text = metrics.render()
    assert 'hyperd_api_requests_total{verb="watch",resource="secrets",code="200"} 1' in text
    assert "duration" not in text


def test_collectors_are_asked_at_each_scrape() -> None:
    values = iter((1.0, 2.0))
    metrics = Metrics()
    metrics.add(lambda: [Sample("queue_depth", next(values))])
    assert "queue_depth 1\n" in metrics.render()
    assert "queue_depth 2\n" in metrics.render()


def test_the_process_has_memory_time_and_files() -> None:
    values = {sample.name: sample.value for sample in process_samples()}
    assert values["process_resident_memory_bytes"] > 1 << 20
    assert values["process_cpu_seconds_total"] > 0
    assert values["process_open_fds"] >= 3


@pytest.mark.loop_seconds(1, "the test blocks it")
async def test_a_blocked_loop_shows_as_lag() -> None:
    lag = LoopLag(period=0.01)
    task = asyncio.create_task(lag.run())
    await asyncio.sleep(0.02)
    end = asyncio.get_running_loop().time() + 0.1
    while asyncio.get_running_loop().time() < end:
        pass
    await asyncio.sleep(0.02)
    task.cancel()
    worst = {sample.name: sample.value for sample in lag.samples()}["hyperd_loop_lag_max_seconds"]
    assert worst > 0.05
