"""A cluster of nodes that is a person's to try, there until SIGTERM.

    python -m tests.cluster.nodes.tryout --nodes 3 [--folder FOLDER] [--port PORT] [--ready FILE]

``FILE`` (``FOLDER/ready`` where a folder is given) is there while the cluster can be used.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from tests.cluster.controlplane.build import BuildError
from tests.cluster.controlplane.plane import PlaneError
from tests.cluster.nodes.bed import Bed


def main() -> int:
    parser = argparse.ArgumentParser(description="Runs a Kubernetes cluster in namespaces of this machine.")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--port", type=int, default=0, help="of loopback, where the API server shall be")
    parser.add_argument("--ready", type=Path)
    chosen = parser.parse_args()
    if not 1 <= chosen.nodes <= Bed.MOST:
        parser.error(f"--nodes is a number from 1 to {Bed.MOST}.")
    ready: Path | None = chosen.ready or (chosen.folder and chosen.folder / "ready")
    awaited = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    bed = Bed(chosen.nodes, folder=chosen.folder, port=chosen.port)
    try:
        bed.start()
        print(bed.kubeconfig, flush=True)
        if ready is not None:
            ready.touch()
        signal.sigwait(awaited)
    except (PlaneError, BuildError) as err:
        print(err, file=sys.stderr)
        return 1
    finally:
        if ready is not None:
            ready.unlink(missing_ok=True)
        bed.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
