"""Files of the repository that follow from the code: whether they are current, and writing them anew."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


class _Dumper(yaml.SafeDumper):
    """Plain YAML without anchors."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def yaml_text(*documents: object) -> str:
    """The documents of one file; long strings stay unbroken."""
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=2**20, allow_unicode=True)


@dataclass(frozen=True)
class Derived:
    """What ``module`` writes: ``files`` with the content they should have.

    ``present`` are the files that are there; of those, what is not in ``files`` belongs to nothing any more.
    """

    module: str
    files: Mapping[Path, str]
    present: Iterable[Path] = ()

    def stale(self) -> list[Path]:
        """Files that are missing, outdated, or of nothing any more."""
        old = [path for path, text in self.files.items() if not path.exists() or path.read_text() != text]
        return old + [path for path in self.present if path not in self.files]

    def write(self) -> None:
        """Make every file current."""
        for path in self.stale():
            if path in self.files:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(self.files[path])
            else:
                path.unlink()

    def main(self, argv: Sequence[str] | None = None) -> int:
        """``python -m MODULE``: write; with ``--check``, only compare, and 1 when a file is stale."""
        parser = argparse.ArgumentParser(prog=f"python -m {self.module}", description="Write what is derived.")
        parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file is stale")
        if not parser.parse_args(argv).check:
            self.write()
            return 0
        stale = self.stale()
        for path in stale:
            sys.stderr.write(f"{path.relative_to(ROOT)} is stale: run python -m {self.module}\n")
        return 1 if stale else 0
