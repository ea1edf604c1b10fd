"""Volumes of one uid in two storages: which is meant, and that a copy holds what it was made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from hyperd.errors import NotFound, TemporaryError
from hyperd.imagefile.handle import DiskFormat
from hyperd.progress import Progress
from hyperd.settings import Settings, StorageSettings
from hyperd.storage.backends.directory.backend import DirectoryBackend
from hyperd.storage.departures import Departure, Departures
from hyperd.storage.interface import Backend, Capability, Keeper
from hyperd.storage.volumes import BackendVolumes
from tests.contract.volumes import guest
from tests.contract.volumes.rawfiles import RawFiles

MIB = 1 << 20


@pytest.fixture
async def other(backend: Backend, tmp_path: Path) -> Backend:
    """Where volumes of ``backend`` come from and go to."""
    made = (RawFiles if isinstance(backend, DirectoryBackend) else DirectoryBackend)(
        Settings(state_dir=tmp_path / "other", storage=StorageSettings(reserve_bytes=0))
    )
    await made.start()
    return made


async def copied(volumes: BackendVolumes, source: Backend, target: Backend, op_uid: str) -> list[Progress]:
    """The volume u1 of the one in the other, too; how that went on."""
    said: list[Progress] = []
    found = await source.provisioner.find("u1")
    assert found is not None
    volumes.ask(lambda uid: Keeper(source.name))
    async with volumes.reading("u1"):
        layers = await volumes.layers("u1")
        await target.provisioner.receive(
            "u1", found.virtual_size, layers=layers, op_uid=op_uid, report=said.append
        )
    return said


async def test_a_copy_holds_what_the_volume_holds_and_is_there_whole(
    backend: Backend, other: Backend, tmp_path: Path
) -> None:
    if Capability.RECEIVE not in backend.provisioner.capabilities:
        pytest.skip("it takes none in")
    volumes = BackendVolumes([backend, other], Departures(tmp_path / "moved"))
    content = b"image" + bytes(MIB - 5)
    images = Settings(state_dir=tmp_path / "other").images_dir
    images.mkdir(parents=True, exist_ok=True)
    image = guest.image(images / "base", DiskFormat.QCOW2, content)
    await other.provisioner.create_from_image("u1", 4 * MIB, image=image)
    said = await copied(volumes, other, backend, "op1")
    assert said[-1].fraction is not None
    for one in (backend, other):
        assert guest.read(await one.attacher.attach("u1")) == content + bytes(3 * MIB)
        await one.attacher.detach("u1")
        found = await one.provisioner.find("u1")
        assert found is not None
        assert (found.virtual_size, found.provisioner) == (4 * MIB, one.name)
    await other.provisioner.delete("u1")
    image.path.unlink()
    assert guest.read(await backend.attacher.attach("u1"))[:5] == b"image", "it needs nothing of the other"


async def test_which_of_two_is_meant_its_owner_says(backend: Backend, other: Backend, tmp_path: Path) -> None:
    volumes = BackendVolumes([backend, other], Departures(tmp_path / "moved"))
    for one in (backend, other):
        await one.provisioner.create_blank("u1", MIB)
    for named in (backend, other, backend):
        volumes.ask(lambda uid, name=named.name: Keeper(name))  # type: ignore[misc]
        found = await volumes.find("u1")
        assert found is not None
        assert found.provisioner == named.name
        assert await volumes.attach("u1") == await named.attacher.attach("u1")
        await volumes.detach("u1")
    assert {volume.provisioner for volume in await volumes.inventory()} == {backend.name, other.name}
    await volumes.remove_copy("u1", other.name, kept=backend.name)
    assert await other.provisioner.find("u1") is None
    volumes.ask(lambda uid: Keeper(other.name))
    found = await volumes.find("u1")
    assert found is not None, "a store that was restored names one that is gone"
    with pytest.raises(NotFound, match="is kept"):
        await volumes.remove_copy("u1", backend.name, kept=other.name)
    await other.provisioner.create_blank("u1", MIB)
    await volumes.delete("u1")
    assert await volumes.inventory() == [], "all copies go with their owner"


async def test_what_a_volume_was_moved_away_from_is_not_that(
    backend: Backend, other: Backend, tmp_path: Path
) -> None:
    notes = tmp_path / "moved"
    volumes = BackendVolumes([backend, other], Departures(notes))
    volumes.ask(lambda uid: Keeper(backend.name))
    await other.provisioner.create_blank("u1", MIB)
    assert await volumes.find("u1") is not None, "a store that was restored names one that has it no more"
    await volumes.departures.note("u1", Departure(other.name, backend.name, "op"))
    for told in (volumes, BackendVolumes([backend, other], Departures(notes))):
        told.ask(lambda uid: Keeper(backend.name))
        assert await told.find("u1") is None
        told.ask(lambda uid: Keeper(other.name))
        assert await told.find("u1") is not None, "whoever owns it says that it is that yet"
    await backend.provisioner.create_blank("u1", MIB)
    await volumes.departures.note("u1", Departure(other.name, backend.name, "op", final=True))
    found = await volumes.find("u1")
    assert found is not None
    assert found.provisioner == backend.name, "its guest has gone on there"
    await volumes.remove_copy("u1", other.name, kept=backend.name)
    assert volumes.departures.of("u1") == {}
    assert list(notes.iterdir()) == []


async def test_what_it_has_left_is_not_it_though_nobody_says_where_it_is(
    backend: Backend, other: Backend, tmp_path: Path
) -> None:
    notes = tmp_path / "moved"
    volumes = BackendVolumes([other, backend], Departures(notes))
    await other.provisioner.create_blank("u1", MIB)
    await volumes.departures.note("u1", Departure(other.name, backend.name, "op"))
    for said in (None, Keeper("not-configured")):
        volumes.ask(lambda uid, said=said: said)  # type: ignore[misc]
        with pytest.raises(TemporaryError, match="nobody says which of them has it now"):
            await volumes.find("u1")
    await volumes.departures.note("u1", Departure(other.name, backend.name, "op", final=True))
    for said in (None, Keeper("not-configured"), Keeper(other.name)):
        volumes.ask(lambda uid, said=said: said)  # type: ignore[misc]
        assert await volumes.find("u1") is None
    await backend.provisioner.create_blank("u1", MIB)
    for said in (None, Keeper("not-configured"), Keeper(other.name)):
        volumes.ask(lambda uid, said=said: said)  # type: ignore[misc]
        found = await volumes.find("u1")
        assert found is not None
        assert found.provisioner == backend.name


async def test_all_that_a_volume_has_left_is_known_for_older(
    backend: Backend, other: Backend, tmp_path: Path
) -> None:
    """The first one was not configured when the second move was made, and is back when the last one is lost."""
    notes = tmp_path / "moved"
    first = Departures(notes)
    await first.note("u1", Departure(other.name, "middle", "op1"))
    await first.note("u1", Departure("middle", backend.name, "op2", final=True))
    volumes = BackendVolumes([other, backend], Departures(notes))
    await other.provisioner.create_blank("u1", MIB)
    for named in (backend.name, "middle", other.name):
        volumes.ask(lambda uid, name=named: Keeper(name))  # type: ignore[misc]
        assert await volumes.find("u1") is None, named
    await volumes.departures.note("u1", Departure(backend.name, other.name, "op3"))
    assert set(volumes.departures.of("u1")) == {"middle", backend.name}, "what it goes back to it has not left"
    volumes.ask(lambda uid: Keeper(other.name))
    assert await volumes.find("u1") is not None
    for left in ("middle", backend.name):
        await volumes.departures.forget("u1", left)
    assert list(notes.iterdir()) == []


@pytest.mark.parametrize("final", [False, True])
async def test_what_a_volume_went_to_is_not_removed_for_what_it_left(
    backend: Backend, other: Backend, tmp_path: Path, final: bool
) -> None:
    volumes = BackendVolumes([backend, other], Departures(tmp_path / "moved"))
    for one in (backend, other):
        await one.provisioner.create_blank("u1", MIB)
    await volumes.departures.note("u1", Departure(other.name, backend.name, "op", final=final))
    with pytest.raises(TemporaryError, match="may be the newer one, and is kept"):
        await volumes.remove_copy("u1", backend.name, kept=other.name)
    assert await backend.provisioner.find("u1") is not None


async def test_a_storage_that_is_named_and_cannot_be_asked_is_not_replaced_by_a_copy(
    backend: Backend, other: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volumes = BackendVolumes([backend, other], Departures(tmp_path / "moved"))
    for one in (backend, other):
        await one.provisioner.create_blank("u1", MIB)

    async def away(uid: str) -> None:
        raise TemporaryError("The pool is away.")

    monkeypatch.setattr(backend.provisioner, "find", away)
    assert await volumes.find("u1") is not None, "nobody says, and there is one"
    volumes.ask(lambda uid: Keeper(backend.name))
    for call in (volumes.find, volumes.attach, volumes.usage):
        with pytest.raises(TemporaryError, match="away"):
            await call("u1")


async def test_snapshots_stay_where_they_are_when_their_volume_goes_and_comes_back(
    backend: Backend, other: Backend, tmp_path: Path
) -> None:
    capabilities = backend.provisioner.capabilities
    if not {Capability.SNAPSHOT, Capability.RECEIVE} <= capabilities:
        pytest.skip("it has none, or takes none in")
    volumes = BackendVolumes([backend, other], Departures(tmp_path / "moved"))
    await backend.provisioner.create_blank("u1", MIB)
    guest.fill(await backend.attacher.attach("u1"), 7, 512)
    await backend.attacher.detach("u1")
    await backend.provisioner.prepare_snapshot("u1", snapshot="s1", op_uid="o", in_use=False)
    await backend.provisioner.commit_snapshot("u1", snapshot="s1", op_uid="o")
    guest.fill(await backend.attacher.attach("u1"), 8, 512)
    await backend.attacher.detach("u1")
    for source, target in ((backend, other), (other, backend)):
        await copied(volumes, source, target, f"op-{len(target.name)}")
        await volumes.remove_copy("u1", source.name, kept=target.name)
        volumes.ask(lambda uid, name=target.name: Keeper(name, moved=True))  # type: ignore[misc]
        assert await volumes.find_snapshot("s1", of="u1") is not None
        assert guest.read(await volumes.attach("u1"))[:512] == b"\x08" * 512
        await volumes.detach("u1")
    await backend.provisioner.create_from_snapshot("u2", MIB, snapshot="s1")
    assert guest.read(await backend.attacher.attach("u2"))[:512] == b"\x07" * 512
    await volumes.delete_snapshot("s1", of="u1")
    assert await volumes.find_snapshot("s1", of="u1") is None
    assert guest.read(await volumes.attach("u1"))[:512] == b"\x08" * 512
