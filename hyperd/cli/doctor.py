"""``hv doctor``: what is wrong with this host, and the command that mends it. Changes nothing, needs no daemon."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from hyperd.cli.doctor_checks import Finding, Level, examine
from hyperd.cli.doctor_host import ThisHost
from hyperd.loading import load

if TYPE_CHECKING:
    from collections.abc import Sequence

EXAMPLES = """\
Examples:
  hv doctor                             look at this host; exit code 1 when something must be mended
  hv doctor --json                      for programs: a list of {level, text, fix}
  hv doctor --config /srv/b/hyperd.toml with the settings of another daemon
"""
GLYPHS = {Level.OK: ("✓", "32"), Level.HINT: ("!", "33"), Level.BAD: ("✗", "31")}


def main(argv: Sequence[str]) -> int:
    """Print the findings; 1 when one of them must be mended."""
    parser = argparse.ArgumentParser(
        prog="hv doctor",
        description="Say what is wrong with this host, and what mends it.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings of the daemon in question")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args(argv)
    settings = load(file=args.config)
    elsewhere = os.environ.get("HYPERD_SOCKET")
    if elsewhere and "://" not in elsewhere and args.config is None:
        # The daemon that the other commands speak to.
        settings = settings.model_copy(update={"run_dir": Path(elsewhere).parent})
    findings = examine(ThisHost(), settings)
    if args.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        print("\n".join(report(findings, colour=colour)))
    return int(any(finding.level is Level.BAD for finding in findings))


def report(findings: Sequence[Finding], *, colour: bool) -> list[str]:
    """The lines for people: glyph and sentence, then the command that mends it."""
    lines = []
    for finding in findings:
        glyph, number = GLYPHS[finding.level]
        lines.append(f"\x1b[{number}m{glyph}\x1b[0m {finding.text}" if colour else f"{glyph} {finding.text}")
        if finding.fix:
            lines.append(f"    fix: {finding.fix}")
    wrong = sum(finding.level is Level.BAD for finding in findings)
    hints = sum(finding.level is Level.HINT for finding in findings)
    lines.append(
        f"{wrong} to mend, {hints} to consider." if wrong or hints else "All is well; this host can run machines."
    )
    return lines
