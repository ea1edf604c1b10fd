"""Creating: a form and its YAML, checked by the home as one types, and then written whole or not at all."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.widgets import TextArea

from hyperd.client import openapi
from hyperd.client.kinds import built_in
from hyperd.errors import BadRequest
from hyperd.resources.all import VIRTUAL_DISK, VIRTUAL_MACHINE, VIRTUAL_MACHINE_IP_ADDRESS
from hyperd.resources.schema.kind import Object
from tests.tui.conftest import Ui, looking
from tests.tui.world import World, image
from tui import templates
from tui.described import by_path, describe
from tui.draft import Draft, put, typed
from tui.recipe import have_source, source
from tui.recipes import load

KEY = "ssh-ed25519 AAAAC3Nza me@host"


async def opened(ui: Ui, what: str = "") -> None:
    await ui.shows("web-7")
    if what:
        await ui.type(f":create {what}")
        await ui.press("enter")
    else:
        await ui.press("plus")
    await ui.shows("Ctrl+S creates it")


def yaml(ui: Ui) -> TextArea:
    return ui.app.screen.query_one(TextArea)


async def machine(ui: Ui, name: str) -> None:
    """Fill in what a machine needs."""
    await ui.type(name)
    await ui.press("down")
    await ui.press(*["backspace"] * len("default"))
    await ui.type("shop")
    await ui.press("down")
    await ui.type("vi/debian-12")
    await ui.shows(f"the home takes it: VirtualDisk {name}-root, VirtualMachine {name}")


async def test_a_machine_and_its_disk_are_made_from_form_and_yaml_in_step(world: World) -> None:
    async with looking(world, size=(160, 45)) as ui:
        await opened(ui)
        await ui.shows("New VirtualMachine", "✖ name", "metadata.name: Required value")
        await machine(ui, "web-9")
        await ui.shows("name: web-9-root", "kind: VirtualImage")
        await ui.press("down")
        await ui.type("40Gi")
        await ui.shows("size: 40Gi")
        await ui.press("f4")
        text = yaml(ui).text.replace("size: 1Gi", "size: 3Gi").replace("cores: 1", "cores: 4")
        yaml(ui).load_text(text)
        await ui.until(lambda: "3Gi" in ui.line("memory ") and "4" in ui.line("cores "), "the boxes")
        await ui.shows("the home takes it")
        await ui.press("ctrl+s")
        await ui.shows("web-9 is created", "3Gi")
        made = (await world.store.get(VIRTUAL_MACHINE, "shop", "web-9")).object()
        disk = (await world.store.get(VIRTUAL_DISK, "shop", "web-9-root")).object()
        assert made["spec"]["cpu"]["cores"] == 4
        assert made["spec"]["memory"]["size"] == "3Gi"
        assert made["spec"]["blockDeviceRefs"] == [{"kind": "VirtualDisk", "name": "web-9-root"}]
        assert disk["spec"]["persistentVolumeClaim"]["size"] == "40Gi"


async def test_what_the_home_refuses_is_marked_and_not_written(world: World) -> None:
    async with looking(world, size=(100, 40)) as ui:
        await opened(ui, "disk")
        await ui.type("Bad_Name")
        await ui.shows("✖ name", "metadata.name")
        await ui.press("ctrl+s")
        await ui.shows("not as the home takes it yet")
        await ui.press("down", "down")
        await ui.type("nonsense")
        await ui.shows("from: write vi/NAME")
        await ui.press("escape")
        await ui.shows("Esc once more drops")
        await ui.press("escape")
        await ui.until(lambda: "New VirtualDisk" not in ui.text)
        assert set(await world.names("virtualdisks")) == {"web-7-root", "web-8-root", "db-1-root"}


async def test_yaml_that_cannot_be_read_is_told_and_the_form_stays(world: World) -> None:
    async with looking(world, size=(100, 40)) as ui:
        await opened(ui, "image")
        await ui.type("new")
        await ui.press("f4")
        await ui.shows("kind: VirtualImage")
        text = yaml(ui).text
        yaml(ui).load_text("]")
        await ui.shows("This is no YAML")
        await ui.press("ctrl+s")
        await ui.shows("not as the home takes it yet")
        await ui.press("f4", "right")
        await ui.type("x")
        await ui.shows("F4 goes there, to mend it")
        yaml(ui).load_text(text)
        await ui.until(lambda: "This is no YAML" not in ui.text)
        await ui.press("end")
        await ui.type("s")
        await ui.shows("news")
        assert "name: news" in yaml(ui).text


async def test_nothing_is_left_of_what_is_refused_at_the_last_moment(world: World) -> None:
    async with looking(world, size=(160, 45)) as ui:
        await opened(ui)
        await machine(ui, "late")
        await world.machine("late", phase="Stopped")
        await ui.press("ctrl+s")
        await ui.shows("It was not created", "already exists", "name: late-root")
        assert "late-root" not in await world.names("virtualdisks")


async def test_a_kind_without_a_recipe_is_asked_for_by_what_the_home_says_of_it(world: World) -> None:
    async with looking(world) as ui:
        await opened(ui, "vmip")
        await ui.shows("New VirtualMachineIPAddress", "type")
        await ui.type("fixed")
        await ui.press("down", "down", "right", "right")
        await ui.press("down")
        await ui.type("10.66.10.9")
        await ui.until(lambda: "the home takes it" in ui.text or "✖ spec" in ui.text, "its word")
        text = yaml(ui).text
        assert "type: " in text
        assert "staticIP: 10.66.10.9" in text
        if "type: Auto" in text:
            await ui.press("up", "right")
        await ui.shows("the home takes it")
        await ui.press("ctrl+s")
        await ui.shows("fixed is created")
        made = (await world.store.get(VIRTUAL_MACHINE_IP_ADDRESS, "default", "fixed")).object()
        assert made["spec"] == {"type": "Static", "staticIP": "10.66.10.9"}


async def test_names_are_completed_and_an_upload_says_what_sends_it(world: World) -> None:
    await world.add("virtualimages", image("here", namespace="default"), {"phase": "Ready"})
    async with looking(world) as ui:
        await opened(ui, "image")
        await ui.type("up")
        await ui.press("down", "down")
        await ui.shows("vi/here")
        await ui.type("vi")
        await asyncio.sleep(0)
        await ui.press(*["backspace"] * 2)
        await ui.type("upload")
        await ui.shows("the home takes it: VirtualImage up")
        await ui.press("ctrl+s")
        await ui.shows("hv upload FILE vi/up")


async def test_what_nobody_creates_is_said(world: World) -> None:
    async with looking(world) as ui:
        await ui.shows("web-7")
        await ui.type(":create nosuch")
        await ui.press("enter")
        await ui.shows("no home has a kind nosuch")
        await ui.type(":create node")
        await ui.press("enter")
        await ui.shows("nobody creates nodes")


def drafted() -> Draft:
    recipe = load()["virtualmachines"]
    main: Object = {"apiVersion": "v1", "kind": "VirtualMachine", "metadata": {"name": "a", "namespace": "n"}}
    return Draft([{**main, "spec": recipe.begin()}])


def test_a_machine_s_disk_follows_its_name_and_goes_where_another_is_taken() -> None:
    recipe, draft = load()["virtualmachines"], drafted()
    boot = next(field for field in recipe.fields if field.label == "boot from")
    assert recipe.rename is not None
    boot.put(draft, "vi/debian")
    recipe.rename(draft, "b")
    assert [obj["metadata"]["name"] for obj in draft.objects] == ["b-root", "b"]
    assert draft.main["spec"]["blockDeviceRefs"] == [{"kind": "VirtualDisk", "name": "b-root"}]
    draft.read(draft.text)
    assert boot.get(draft) == "vi/debian"
    boot.put(draft, "vd/data")
    assert [obj["kind"] for obj in draft.objects] == ["VirtualMachine"]
    assert boot.get(draft) == "vd/data"
    with pytest.raises(BadRequest, match="write vi/NAME"):
        boot.put(draft, "debian")


def test_a_key_is_in_the_user_data_and_other_user_data_is_left_alone() -> None:
    draft = drafted()
    key = next(field for field in load()["virtualmachines"].fields if field.label == "SSH key")
    key.put(draft, KEY)
    assert key.get(draft) == KEY
    assert draft.main["spec"]["provisioning"]["userData"].startswith("#cloud-config\n")
    with pytest.raises(BadRequest, match="stays with you"):
        key.put(draft, "-----BEGIN OPENSSH PRIVATE KEY-----")
    draft.main["spec"]["provisioning"]["userData"] = "#cloud-config\nhostname: x\n"
    with pytest.raises(BadRequest, match="in the YAML"):
        key.put(draft, KEY)
    key.put(draft, "")
    assert "provisioning" not in draft.main["spec"]


@pytest.mark.parametrize(
    "text", ["https://images.example/a.qcow2", "docker://registry.example/a:1", "upload", "vi/a", "vds/b", ""]
)
def test_a_source_is_read_as_it_was_typed(text: str) -> None:
    obj: Object = {"spec": {}}
    have_source(obj, text, ("vi", "vds"))
    assert source(obj) == text


def test_a_checksum_stays_where_only_the_address_changes() -> None:
    obj: Object = {
        "spec": {"dataSource": {"type": "HTTP", "http": {"url": "https://a", "checksum": {"md5": "1"}}}}
    }
    have_source(obj, "https://b", ())
    assert obj["spec"]["dataSource"]["http"] == {"url": "https://b", "checksum": {"md5": "1"}}


def test_values_are_what_their_fields_hold() -> None:
    assert (typed("4", "integer"), typed("x", "integer"), typed("true", "boolean")) == (4, "x", True)
    assert typed("", "string") is None
    obj: Object = {"spec": {"a": {"b": "c"}, "d": 1}}
    put(obj, ("spec", "a", "b"), None)
    assert obj == {"spec": {"d": 1}}
    put(obj, ("spec", "x", "y"), "z")
    assert obj["spec"]["x"] == {"y": "z"}


def test_a_schema_that_is_in_itself_or_no_schema_is_described_without_end_or_error() -> None:
    schemas: Object = {"a": {"properties": {"spec": {"$ref": "#/a"}, "n": {"type": "string"}, "odd": 3}}}
    assert len(list(describe(schemas["a"], schemas))) < 20
    assert by_path({"properties": []}, {}) == {}
    known = {resource.kind: resource for resource in built_in()}
    assert openapi.path(known["VirtualDisk"]) == "/openapi/v3/apis/virtualization.deckhouse.io/v1alpha2"


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (160, 45)])
async def test_a_draft_is_kept_as_a_template_and_begun_with_and_written_in_an_editor(
    world: World, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    async with looking(world, size=size) as ui:
        await opened(ui)
        await ui.press("f6")
        await ui.shows("There is no template of this kind")
        await machine(ui, "web-9")
        await ui.press("f5")
        await ui.shows("Keep this as a template")
        await ui.type("small")
        await ui.press("enter")
        await ui.shows("F6 begins with it")
        assert "web-9-root" in (tmp_path / "hyperd/templates/VirtualMachine/small.yaml").read_text()
        await ui.press("escape", "escape")
        await opened(ui)
        await ui.type("web-10")
        await ui.press("f6")
        await ui.shows("Begin with a template", "small")
        await ui.press("enter")
        await ui.until(
            lambda: "name: web-10-root" in yaml(ui).text and "web-9" not in yaml(ui).text, "the template"
        )
        await ui.shows("the home takes it: VirtualDisk web-10-root, VirtualMachine web-10")
        monkeypatch.setattr(ui.app.main, "hand_over", _edited)
        await ui.press("f3")
        await ui.until(lambda: "cores: 3" in yaml(ui).text, "the editor's text")
        await ui.until(lambda: getattr(ui.app.screen, "_verdict", None) is not None, "the home's word")
        await ui.press("ctrl+s")
        await ui.until(lambda: ui.app.screen is ui.app.main, "the machine")
        made = await world.store.get(VIRTUAL_MACHINE, "shop", "web-10")
        assert made.object()["spec"]["cpu"]["cores"] == 3


async def _edited(call: Callable[[], str]) -> str:
    """In a terminal that can be handed over."""
    os.environ["EDITOR"] = "sed -i s/cores:.*/cores:\\ 3/"
    os.environ.pop("VISUAL", None)
    return await asyncio.to_thread(call)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".x", "a b", "x" * 80])
def test_a_template_is_nowhere_but_in_its_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="is no name of a template"):
        templates.write("VirtualMachine", name, "x", {"XDG_CONFIG_HOME": str(tmp_path)})
    with pytest.raises(BadRequest, match="is no name of a template"):
        templates.read(name, "x", {"XDG_CONFIG_HOME": str(tmp_path)})
    assert list(tmp_path.iterdir()) == []
