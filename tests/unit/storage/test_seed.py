"""Seeds, read back by tools that did not make them."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperd.errors import PermanentError
from hyperd.settings import Settings
from hyperd.storage import fat, iso
from hyperd.storage.seed import SeedStore


def read(path: Path, name: str) -> bytes:
    return subprocess.run(["mtype", "-i", path, f"::{name}"], check=True, capture_output=True).stdout


def assert_sound(path: Path) -> None:
    subprocess.run(["fsck.vfat", "-n", path], check=True, capture_output=True)


def tags(path: Path) -> set[str]:
    """What a guest's udev would see."""
    argv = ["blkid", "-p", "-o", "export", str(path)]
    return set(subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split())


@pytest.fixture
def seeds(tmp_path: Path) -> SeedStore:
    return SeedStore(Settings(state_dir=tmp_path))


async def test_a_seed_is_a_sound_volume_labelled_cidata_with_the_two_files(seeds: SeedStore) -> None:
    path = (await seeds.write("u1", hostname="web", user_data="#cloud-config\nhostname: ä\n".encode())).path
    assert path.stat().st_size == 1 << 20
    assert path.stat().st_mode & 0o777 == 0o600
    assert read(path, "user-data").decode() == "#cloud-config\nhostname: ä\n"
    assert json.loads(read(path, "meta-data")) == {"instance-id": "u1", "local-hostname": "web"}
    assert_sound(path)
    assert {"LABEL=cidata", "TYPE=vfat"} <= tags(path)


async def test_the_same_input_gives_the_same_bytes_and_leaves_the_file_alone(seeds: SeedStore) -> None:
    path = (await seeds.write("u1", hostname="web", user_data=b"a")).path
    before = (path.read_bytes(), path.stat().st_ino)
    await seeds.write("u1", hostname="web", user_data=b"a")
    assert (path.read_bytes(), path.stat().st_ino) == before
    await seeds.write("u1", hostname="web", user_data=b"b")
    assert read(path, "user-data") == b"b"


async def test_a_hostname_cannot_add_keys(seeds: SeedStore) -> None:
    path = (await seeds.write("u1", hostname='x"\npublic-keys: evil', user_data=b"")).path
    assert json.loads(read(path, "meta-data"))["local-hostname"] == 'x"\npublic-keys: evil'


async def test_large_user_data_makes_a_larger_seed_and_too_large_is_refused(seeds: SeedStore) -> None:
    text = bytes(range(256)) * (3 << 12)
    path = (await seeds.write("u1", hostname="web", user_data=text)).path
    assert read(path, "user-data") == text
    with pytest.raises(PermanentError, match="larger than"):
        await seeds.write("u2", hostname="web", user_data=b"x" * (9 << 20))
    assert await seeds.inventory() == ["u1"]


async def test_removing_leaves_nothing(seeds: SeedStore, tmp_path: Path) -> None:
    path = (await seeds.write("u1", hostname="web", user_data=b"secret")).path
    await seeds.remove("u1")
    await seeds.remove("u1")
    assert await seeds.inventory() == []
    assert list(path.parent.iterdir()) == []


async def test_cleaning_removes_what_a_crash_left_half_written(seeds: SeedStore) -> None:
    path = (await seeds.write("u1", hostname="web", user_data=b"a")).path
    (path.parent / ".u1.img.new").write_bytes(b"half")
    await seeds.clean()
    assert [found.name for found in path.parent.iterdir()] == ["u1.img"]


@settings(max_examples=20, deadline=None)
@given(st.dictionaries(st.from_regex(r"[a-z][-a-z]{0,29}", fullmatch=True), st.binary(max_size=9000), max_size=4))
def test_every_file_reads_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    path = tmp_path_factory.mktemp("fat") / "volume"
    path.write_bytes(fat.volume("cidata", files))
    assert_sound(path)
    assert {name: read(path, name) for name in files} == files


def on_cd(path: Path, name: str) -> bytes:
    return subprocess.run(["isoinfo", "-J", "-i", path, "-x", f"/{name}"], check=True, capture_output=True).stdout


async def test_answers_are_a_cd_rom_with_the_files_as_they_are(seeds: SeedStore) -> None:
    answers = {"autounattend.xml": "<ä/>".encode(), "Setup-1.complete.ps1": b"\xff" * 5000, "empty": b""}
    path = (await seeds.write_answers("u1", answers)).path
    assert path.stat().st_mode & 0o777 == 0o600
    assert {name: on_cd(path, name) for name in answers} == answers
    assert {"LABEL=unattendCD", "TYPE=iso9660"} <= tags(path)
    before = path.stat().st_ino
    await seeds.write_answers("u1", answers)
    assert path.stat().st_ino == before
    await seeds.write("u1", hostname="web", user_data=b"a")
    assert read(path, "user-data") == b"a"


def test_each_file_has_a_name_of_its_own_for_who_reads_no_long_ones(tmp_path: Path) -> None:
    path = tmp_path / "cd.iso"
    path.write_bytes(iso.volume("unattendCD", dict.fromkeys(("_2", "a-b", "_3", "A.XML", "a.xml"), b"x")))
    listed = subprocess.run(["isoinfo", "-i", path, "-f"], check=True, capture_output=True, text=True).stdout
    assert len(set(listed.split())) == 5


@settings(max_examples=10, deadline=None)
@given(
    st.dictionaries(
        st.from_regex(r"[-._a-zA-Z0-9]{1,64}", fullmatch=True).filter(lambda name: name.strip(".")),
        st.binary(max_size=5000),
        min_size=1,
        max_size=80,
    )
)
def test_a_strict_reader_finds_every_file_of_a_cd_rom(files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "cd.iso"
        image.write_bytes(iso.volume("unattendCD", files))
        out = f"{folder}/out"
        extract = ["xorriso", "-read_fs", "norock", "-osirrox", "on", "-indev", str(image), "-extract", "/", out]
        subprocess.run(extract, check=True, capture_output=True)
        assert {path.name: path.read_bytes() for path in Path(out).iterdir()} == files


@pytest.mark.parametrize(
    "answers", [{"a": b"x" * (9 << 20)}, {"a" * 65: b""}, {str(number): b"" for number in range(1001)}]
)
async def test_what_no_cd_rom_can_hold_is_refused(seeds: SeedStore, answers: dict[str, bytes]) -> None:
    with pytest.raises(PermanentError, match="sysprep files are larger than 8 MiB, more than 1000"):
        await seeds.write_answers("u1", answers)
    assert await seeds.inventory() == []
