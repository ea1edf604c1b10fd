"""``hv kubeconfig``: what kubectl and other clients need to reach this hyperd."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from hyperd.client.home import kubeconfig_paths
from hyperd.client.kubeconfig import merge, parse
from hyperd.client.yamltext import dump
from hyperd.errors import Forbidden, NotFound

EXAMPLES = """\
  hv kubeconfig > lab.kubeconfig       print it
  hv kubeconfig --merge                add it to ~/.kube/config (or $KUBECONFIG) as the current context
  KUBECONFIG=lab.kubeconfig kubectl get vm
"""

DEFAULT_FILE = "/var/lib/hyperd/kubeconfig"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "--file", default=os.environ.get("HYPERD_STATE_DIR", ""), help="kubeconfig that hyperd wrote"
    )
    parser.add_argument("--merge", action="store_true", help="merge it into your own kubeconfig")
    parser.add_argument("-o", "--output", choices=("yaml", "json"), default="yaml", help="form of output")


def run(args: argparse.Namespace) -> int:
    """Print or merge."""
    source = args.file or DEFAULT_FILE
    if os.path.isdir(source):
        source = os.path.join(source, "kubeconfig")
    document = _load(source)
    if not args.merge:
        sys.stdout.write(json.dumps(document, indent=2) + "\n" if args.output == "json" else dump(document))
        return 0
    path = kubeconfig_paths(args.kubeconfig)[0]
    existing: dict[str, Any] = {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            existing = parse(file.read(), path)
    _write(path, dump(merge(existing, document)))
    print(f'Merged into {path}; the current context is "{document.get("current-context", "")}".')
    return 0


def _load(source: str) -> dict[str, Any]:
    try:
        with open(source, encoding="utf-8") as file:
            return parse(file.read(), source)
    except FileNotFoundError as err:
        raise NotFound(
            f"There is no kubeconfig at {source}; hyperd writes it when it starts. Name another with --file."
        ) from err
    except PermissionError as err:
        raise Forbidden(f"You may not read {source}: become root, as it holds an administrator's key.") from err


def _write(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
    # Complete or not at all, and never readable by others: it holds keys.
    temporary = f"{path}.{os.getpid()}.new"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
