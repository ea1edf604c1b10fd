"""Events: counted, limited, removed in time, and never in the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from hyperd.resources.schema.kind import Object
from hyperd.runtime.recorder import BURST, QUEUE_LIMIT, REFILL_SECONDS, EventRecorder
from hyperd.store.embedded.store import EmbeddedStore
from tests.contract.store.kinds import EVENTS, WIDGETS, widget


class Time:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 11, 23, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()

    def pass_seconds(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


def recorder_of(store: EmbeddedStore, time: Time) -> EventRecorder:
    return EventRecorder(
        store, EVENTS, component="test", host="node1", ttl_seconds=3600, now=time.now, elapsed=time.monotonic
    )


@asynccontextmanager
async def running(recorder: EventRecorder) -> AsyncIterator[None]:
    task = asyncio.create_task(recorder.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def events_of(store: EmbeddedStore) -> list[Object]:
    return [item.object() for item in (await store.list(EVENTS)).items]


async def test_an_event_names_the_object_and_what_happened(store: EmbeddedStore) -> None:
    obj = (await store.create(WIDGETS, "default", widget())).object()
    recorder = recorder_of(store, Time())
    async with running(recorder):
        recorder.event(obj, "Warning", "Broken", "It broke.")
        await recorder.flush()
    [event] = await events_of(store)
    assert event["metadata"]["namespace"] == "default"
    assert event["metadata"]["name"].startswith("w.")
    assert event["involvedObject"]["uid"] == obj["metadata"]["uid"]
    assert event["involvedObject"]["kind"] == "Widget"
    assert (event["type"], event["reason"], event["message"], event["count"]) == (
        "Warning", "Broken", "It broke.", 1,
    )  # fmt: skip
    assert event["source"] == {"component": "test", "host": "node1"}
    assert event["firstTimestamp"] == event["lastTimestamp"] == "2026-11-23T12:00:00Z"


async def test_the_same_event_again_is_counted(store: EmbeddedStore) -> None:
    obj = (await store.create(WIDGETS, "default", widget())).object()
    time = Time()
    recorder = recorder_of(store, time)
    async with running(recorder):
        for _ in range(3):
            recorder.event(obj, "Normal", "Seen", "Seen again.")
            time.pass_seconds(60)
        recorder.event(obj, "Normal", "Seen", "Seen otherwise.")
        await recorder.flush()
    counted, other = await events_of(store)
    assert (counted["count"], counted["lastTimestamp"]) == (3, "2026-11-23T12:02:00Z")
    assert other["count"] == 1


async def test_a_counted_event_that_was_removed_is_made_anew(store: EmbeddedStore) -> None:
    obj = (await store.create(WIDGETS, "default", widget())).object()
    recorder = recorder_of(store, Time())
    async with running(recorder):
        recorder.event(obj, "Normal", "Seen", "x")
        await recorder.flush()
        [event] = await events_of(store)
        await store.delete(EVENTS, "default", event["metadata"]["name"])
        recorder.event(obj, "Normal", "Seen", "x")
        await recorder.flush()
    assert [event["count"] for event in await events_of(store)] == [1]


async def test_a_chatty_object_runs_into_a_limit_of_its_own(store: EmbeddedStore) -> None:
    loud = (await store.create(WIDGETS, "default", widget("loud"))).object()
    quiet = (await store.create(WIDGETS, "default", widget("quiet"))).object()
    time = Time()
    recorder = recorder_of(store, time)
    async with running(recorder):
        for number in range(BURST + 10):
            recorder.event(loud, "Normal", "Noise", f"{number}")
        recorder.event(quiet, "Normal", "Voice", "Heard.")
        await recorder.flush()
        assert recorder.dropped == 10
        assert len(await events_of(store)) == BURST + 1
        time.pass_seconds(REFILL_SECONDS)
        recorder.event(loud, "Normal", "Noise", "later")
        recorder.event(loud, "Normal", "Noise", "too soon")
        await recorder.flush()
    assert len(await events_of(store)) == BURST + 2


async def test_recording_never_waits_and_drops_what_is_too_much(store: EmbeddedStore) -> None:
    recorder = recorder_of(store, Time())
    for number in range(QUEUE_LIMIT + 5):
        obj = {"metadata": {"name": f"w{number}", "namespace": "default", "uid": str(number)}}
        recorder.event(obj, "Normal", "Many", "x")
    assert recorder.dropped == 5


async def test_an_event_that_cannot_be_written_does_not_stop_the_others(store: EmbeddedStore) -> None:
    recorder = recorder_of(store, Time())
    async with running(recorder):
        nowhere = {"metadata": {"name": "w", "namespace": "nowhere", "uid": "1"}}
        recorder.event(nowhere, "Normal", "Lost", "x")
        recorder.event({"metadata": {"name": "g", "uid": "2"}}, "Normal", "Cluster", "x")
        await recorder.flush()
    assert recorder.dropped == 1
    [event] = await events_of(store)
    assert event["metadata"]["namespace"] == "default"
    assert "namespace" not in event["involvedObject"]


async def test_old_events_are_removed_and_others_stay(store: EmbeddedStore) -> None:
    obj = (await store.create(WIDGETS, "default", widget())).object()
    time = Time()
    recorder = recorder_of(store, time)
    async with running(recorder):
        recorder.event(obj, "Normal", "Old", "x")
        time.pass_seconds(3000)
        recorder.event(obj, "Normal", "New", "x")
        await recorder.flush()
        time.pass_seconds(601)
        assert await recorder.prune() == 1
        assert await recorder.prune() == 0
    assert [event["reason"] for event in await events_of(store)] == ["New"]


async def test_a_long_message_is_cut(store: EmbeddedStore) -> None:
    obj = (await store.create(WIDGETS, "default", widget())).object()
    recorder = recorder_of(store, Time())
    async with running(recorder):
        recorder.event(obj, "Normal", "Long", "x" * 5000)
        await recorder.flush()
    [event] = await events_of(store)
    assert len(event["message"]) == 1024
