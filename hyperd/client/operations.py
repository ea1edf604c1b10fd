"""The verbs on machines (start, migrate, …) as the operation objects that ``hv`` and the TUI create."""

from __future__ import annotations

from hyperd.client.health import Level, condition, health
from hyperd.client.resource import Resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperd.resources.schema.kind import Object

OPERATION = Resource(
    group="virtualization.deckhouse.io",
    version="v1alpha2",
    kind="VirtualMachineOperation",
    plural="virtualmachineoperations",
    singular="virtualmachineoperation",
    namespaced=True,
    short_names=("vmop",),
)
MOVING = ("migrate", "evict")
HOSTNAME_LABEL = "kubernetes.io/hostname"
_ON = frozenset(("Running", "Migrating", "Degraded", "Starting", "Pause"))


class Verb:
    """One of them. ``asks`` is what somebody should know before; empty where nothing is lost."""

    __slots__ = ("asks", "doing", "forced", "kind", "word")

    def __init__(self, word: str, doing: str, *, asks: str = "", forced: str = "") -> None:
        self.word = word
        self.kind = word.capitalize()
        self.doing = doing
        self.asks = asks
        self.forced = forced

    def manifest(self, namespace: str, name: str, *, force: bool | None = None, node: str = "") -> Object:
        """The operation on the machine ``name``; ``node`` is where a migration is to lead.

        ``force`` of a migration may be False, which is not what None is: its machine's policy decides then.
        """
        spec: Object = {"type": self.kind, "virtualMachineName": name}
        if force or (force is not None and self.word in MOVING):
            spec["force"] = force
        if node:
            spec["migrate"] = {"nodeSelector": {HOSTNAME_LABEL: node}}
        return {
            "apiVersion": OPERATION.api_version,
            "kind": OPERATION.kind,
            "metadata": {"generateName": f"{name}-", "namespace": namespace},
            "spec": spec,
        }

    def refusal(self, machine: Object) -> str:
        """Why a machine in this state takes no such operation; empty where it does."""
        state = health(machine)
        if self.word in MOVING:
            return _held(machine)
        if self.word != "start":
            return "" if running(machine) else f"is {state.word}"
        if state.level is not Level.OFF:
            return f"is {state.word}"
        if (machine.get("spec") or {}).get("runPolicy") == "AlwaysOff":
            return "has the runPolicy AlwaysOff"
        return ""


def _held(machine: Object) -> str:
    """Why a machine stays on its node, in its own words where it has some; empty where it does not have to."""
    if not running(machine):
        return "is not running: it starts on whichever node has room"
    state = health(machine)
    if state.word != "Running":
        return f"is {state.word}"
    migratable = condition(machine, "Migratable") or {}
    if migratable.get("status") == "True":
        return ""
    message = str(migratable.get("message") or "nothing says that it can be")
    return f"cannot be moved: {message.rstrip('.')}"


def running(machine: Object) -> bool:
    """Whether a machine is on, so that it can be stopped and its console answers."""
    return health(machine).word in _ON


VERBS = {
    verb.word: verb
    for verb in (
        Verb("start", "starting"),
        Verb(
            "stop", "stopping",
            asks="The guest is asked to shut down; what it does not save is lost.",
            forced="The plug is pulled; what the guest has not written is lost.",
        ),
        Verb(
            "restart", "restarting",
            asks="The guest is asked to shut down, then the machine starts again.",
            forced="The guest is reset; what it has not written is lost.",
        ),
        Verb("migrate", "migrating", asks="The guest goes to another node, and stands still for a moment."),
        Verb("evict", "being evicted", asks="The guest goes to another node, and stands still for a moment."),
    )
}  # fmt: skip
