"""What controllers rely on, whatever runs their domains."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest

from hyperd.errors import NotFound
from hyperd.hypervisor.interface import Hypervisor
from hyperd.hypervisor.spec import DomainSpec
from hyperd.hypervisor.state import DomainState
from tests.contract.hypervisor.conftest import Made, connect


async def test_a_domain_goes_through_its_life_and_each_step_is_told(made: Made, spec: DomainSpec) -> None:
    hypervisor = made.hypervisor
    assert await hypervisor.info(spec.uid) is None
    await hypervisor.define(spec)
    defined = await made.state(spec.uid, DomainState.SHUTOFF)
    assert (defined.active, defined.persistent) == (False, True)
    await hypervisor.start_domain(spec.uid)
    running = await made.state(spec.uid, DomainState.RUNNING)
    assert running.active
    await hypervisor.destroy(spec.uid)
    off = await made.state(spec.uid, DomainState.SHUTOFF)
    assert (off.active, off.reason) == (False, "destroyed")
    await hypervisor.undefine(spec.uid)
    await made.told(spec.uid, "defined", "started", "stopped", "undefined")
    assert await hypervisor.info(spec.uid) is None
    assert await hypervisor.slots(spec.uid) == {}


async def test_what_a_domain_says_of_itself_is_read_back(hypervisor: Hypervisor, spec: DomainSpec) -> None:
    told = replace(spec, namespace="a", vm_name='w "<b>', generation=7, applied='{"x": "é&"}')
    await hypervisor.define(told)
    info = await hypervisor.info(spec.uid)
    assert info is not None
    assert (info.uid, info.namespace, info.vm_name) == (told.uid, told.namespace, told.vm_name)
    assert (info.generation, info.applied) == (told.generation, told.applied)
    await hypervisor.start_domain(spec.uid)
    running = await hypervisor.info(spec.uid)
    assert running is not None
    await hypervisor.mark(replace(running, applied="another"))
    assert hypervisor.last_known[spec.uid].applied == "another"
    marked = await hypervisor.info(spec.uid)
    assert marked is not None
    assert (marked.applied, marked.active) == ("another", True)
    await hypervisor.destroy(spec.uid)
    off = await hypervisor.info(spec.uid)
    assert off is not None
    assert off.applied == "another", "the definition too"


async def test_a_running_guest_keeps_what_it_was_started_with(made: Made, spec: DomainSpec) -> None:
    await made.hypervisor.define(spec)
    await made.hypervisor.start_domain(spec.uid)
    await made.hypervisor.define(replace(spec, generation=9, applied="new"))
    running = await made.state(spec.uid, DomainState.RUNNING)
    assert (running.generation, running.applied) == (spec.generation, spec.applied)
    await made.hypervisor.destroy(spec.uid)
    off = await made.state(spec.uid, DomainState.SHUTOFF)
    assert (off.generation, off.applied) == (9, "new")


async def test_every_step_may_be_repeated(made: Made, spec: DomainSpec) -> None:
    hypervisor = made.hypervisor
    for _ in range(2):
        await hypervisor.define(spec)
    for _ in range(2):
        await hypervisor.start_domain(spec.uid)
    await hypervisor.resume(spec.uid)
    assert (await made.state(spec.uid, DomainState.RUNNING)).active
    for _ in range(2):
        await hypervisor.destroy(spec.uid)
    await hypervisor.shutdown(spec.uid)
    for _ in range(2):
        await hypervisor.undefine(spec.uid)


async def test_a_domain_that_is_not_there_is_not_found(hypervisor: Hypervisor, spec: DomainSpec) -> None:
    for call in (hypervisor.start_domain, hypervisor.shutdown, hypervisor.destroy, hypervisor.resume):
        with pytest.raises(NotFound, match=spec.uid):
            await call(spec.uid)


async def test_another_instance_s_domains_do_not_exist(made: Made, spec: DomainSpec) -> None:
    other = made.another("apart")
    await connect(other)
    theirs = replace(spec, uid=str(uuid.uuid4()), instance="apart")
    try:
        await other.define(theirs)
        await made.hypervisor.define(spec)
        await made.told(spec.uid, "defined")
        assert list(await made.hypervisor.list_owned()) == [spec.uid]
        assert list(await other.list_owned()) == [theirs.uid]
        assert await made.hypervisor.info(theirs.uid) is None
        assert {event.uid for event in made.events} == {spec.uid}
    finally:
        await other.undefine(theirs.uid)
        await other.close()


async def test_who_comes_later_finds_what_runs(made: Made, spec: DomainSpec) -> None:
    await made.hypervisor.define(spec)
    await made.hypervisor.start_domain(spec.uid)
    later = made.another("contract")
    assert (later.connected, dict(later.last_known)) == (False, {})
    await connect(later)
    try:
        assert later.connected
        assert later.last_error == ""
        assert {uid: info.active for uid, info in later.last_known.items()} == {spec.uid: True}
    finally:
        await later.close()
    assert (await made.state(spec.uid, DomainState.RUNNING)).active, "a hypervisor that is left goes on"


async def test_slots_that_are_known_stay_and_others_get_theirs(hypervisor: Hypervisor, spec: DomainSpec) -> None:
    assigned = hypervisor.assign(spec)
    assert assigned
    assert hypervisor.assign(replace(spec, slots=assigned)) == assigned
    assert hypervisor.assign(spec) == assigned


async def test_the_facts_are_those_of_a_host(hypervisor: Hypervisor) -> None:
    facts = await hypervisor.facts()
    assert facts.hostname
    assert facts.libvirt_version.count(".") == 2
    assert min(facts.cpus, facts.memory_bytes, await hypervisor.free_memory()) > 0
    assert facts.kvm_usable == (not facts.why_not_kvm)
