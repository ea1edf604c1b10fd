"""What the manifests put on each node: every program that does not run in a machine's Pod."""

from __future__ import annotations

from hyperd.launcher.build import LAUNCHER, PROGRAMS
from hyperd.resources.derived import ROOT


def test_each_program_of_a_node_is_put_there() -> None:
    manifest = (ROOT / "manifests" / "daemonset.yaml").read_text()
    (line,) = (line for line in manifest.splitlines() if line.strip().startswith("for program in "))
    assert set(line.split(";")[0].split()[3:]) == set(PROGRAMS) - {LAUNCHER}
    assert "install -m 0755 /usr/lib/hyperd/$program" in manifest
