"""What ``hyperd`` does once, instead of serving."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hyperd.settings import Settings
from hyperd.store.embedded.backup import restore
from hyperd.world import World


def restore_store(conf: Settings, backup: Path) -> None:
    """Put ``backup`` in the place of the store, and say what that means. Raises PermanentError."""
    done = restore(backup.resolve(), conf.database_path)
    replaced = f" The store before it is kept as {done.replaced}." if done.replaced else ""
    print(  # noqa: T201  an answer to a command
        f"Restored {done.objects} objects from {backup} to {conf.database_path}.{replaced} Start hyperd again.\n"
        "What only the replaced store knew, machines that run and disks, stays on this host: `hv gc` lists it, "
        "and nothing is collected until `hv gc accept`."
    )


def leave_host(conf: Settings, world: World) -> None:
    """Remove what the network has on this host, where no daemon runs. Raises HyperdError."""
    asyncio.run(world.network(conf).leave())
    print("Nothing of hyperd's network is left on this host.")  # noqa: T201  an answer to a command
