"""Named places where a test kills the daemon.

``HYPERD_CRASH_AT=disk.after_file`` makes the process SIGKILL itself there, where the tests' own packages are
installed: on a user's host the variable does nothing. Each point has a case in the crash test, which enumerates
this enum and fails for a new one without.
"""

from __future__ import annotations

import os
import signal
from enum import StrEnum
from importlib.util import find_spec


class CrashPoint(StrEnum):
    """Between two steps whose order matters after a crash."""

    IMPORT_STREAMING = "import.streaming"
    IMPORT_BEFORE_TAG = "import.before_tag"
    IMPORT_AFTER_TAG = "import.after_tag"
    CACHE_BEFORE_RENAME = "cache.before_rename"
    LAZY_AFTER_RECORD = "lazy.after_record"
    LAZY_AFTER_OVERLAY = "lazy.after_overlay"
    LAZY_AFTER_PIVOT = "lazy.after_pivot"
    LAZY_AFTER_COMMIT = "lazy.after_commit"
    DISK_BEFORE_RENAME = "disk.before_rename"
    DISK_AFTER_FILE = "disk.after_file"
    HOLDER_AFTER_RECORD = "holder.after_record"
    HOLDER_AFTER_MARK = "holder.after_mark"
    HOLDER_BEFORE_YIELD = "holder.before_yield"
    VM_BEFORE_DEFINE = "vm.before_define"
    VM_AFTER_DEFINE = "vm.after_define"
    VM_AFTER_START = "vm.after_start"
    VM_BEFORE_UNDEFINE = "vm.before_undefine"
    VM_AFTER_UNDEFINE = "vm.after_undefine"
    VM_BEFORE_RECREATE = "vm.before_recreate"
    VM_BETWEEN_REBOOT = "vm.between_reboot"
    VM_AFTER_DESTROY = "vm.after_destroy"
    VM_BETWEEN_RESTART = "vm.between_restart"
    VM_BEFORE_PLUG = "vm.before_plug"
    VM_AFTER_PLUG = "vm.after_plug"
    VM_BEFORE_UNPLUG = "vm.before_unplug"
    VM_AFTER_UNPLUG = "vm.after_unplug"
    MOVE_AFTER_COPY = "move.after_copy"
    MOVE_AFTER_PIVOT = "move.after_pivot"
    MOVE_AFTER_SWITCH = "move.after_switch"
    MIGRATION_AFTER_RECORD = "migration.after_record"
    MIGRATION_AFTER_PREPARE = "migration.after_prepare"
    MIGRATION_BEFORE_RESUME = "migration.before_resume"
    MIGRATION_AFTER_RESUME = "migration.after_resume"
    MIGRATION_AFTER_DISKS = "migration.after_disks"
    ARRIVAL_AFTER_NOTE = "arrival.after_note"
    ARRIVAL_AFTER_VOLUMES = "arrival.after_volumes"
    ARRIVAL_BEFORE_RESUME = "arrival.before_resume"
    ARRIVAL_AFTER_RESUME = "arrival.after_resume"
    ARRIVAL_AFTER_CLEARING = "arrival.after_clearing"
    DISK_AFTER_GROW = "disk.after_grow"
    LEASE_AFTER_CREATE = "lease.after_create"
    POOL_AFTER_INTENT = "pool.after_intent"
    POOL_AFTER_MACHINE = "pool.after_machine"
    POOL_AFTER_LOWERING = "pool.after_lowering"
    OPERATION_AFTER_SIGNAL = "operation.after_signal"
    SNAPSHOT_FROZEN = "snapshot.frozen"
    SNAPSHOT_AFTER_PIVOT = "snapshot.after_pivot"
    SNAPSHOT_AFTER_COMMIT = "snapshot.after_commit"
    DURABLE_BEFORE_STEP = "durable.before_step"
    DURABLE_AFTER_STEP = "durable.after_step"
    DURABLE_BEFORE_END = "durable.before_end"
    DURABLE_BEFORE_UNDO = "durable.before_undo"
    DURABLE_AFTER_UNDO = "durable.after_undo"


def _asked_for() -> str:
    asked = os.environ.get("HYPERD_CRASH_AT", "")
    return asked if asked and find_spec("pytest") is not None else ""


_armed = _asked_for()


def reached(point: CrashPoint) -> None:
    """Die here if a test asked for it."""
    if _armed and _armed == point:
        os.kill(os.getpid(), signal.SIGKILL)
