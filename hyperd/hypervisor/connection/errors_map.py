"""libvirt's errors in our words: the one place where its codes are read.

Whether trying again may help is in the type: ServiceUnavailable and TemporaryError heal by themselves,
PermanentError does not until the object changes.
"""

from __future__ import annotations

import libvirt

from hyperd import errors

DISK_IN_USE = "DiskInUse"
INSUFFICIENT_MEMORY = "InsufficientMemory"
NO_SPACE = "NoSpace"
"""Keys of TemporaryError for what a user can mend."""

_UNAVAILABLE = frozenset(
    {
        libvirt.VIR_ERR_NO_CONNECT,
        libvirt.VIR_ERR_INVALID_CONN,
        libvirt.VIR_ERR_RPC,
        libvirt.VIR_ERR_AUTH_FAILED,
        libvirt.VIR_ERR_AUTH_UNAVAILABLE,
        libvirt.VIR_ERR_NO_SERVER,
    }
)
_PERMANENT = {
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED: "DomainUnsupported",
    libvirt.VIR_ERR_XML_ERROR: "DomainInvalid",
    libvirt.VIR_ERR_XML_DETAIL: "DomainInvalid",
    libvirt.VIR_ERR_XML_INVALID_SCHEMA: "DomainInvalid",
    libvirt.VIR_ERR_OS_TYPE: "DomainUnsupported",
    libvirt.VIR_ERR_CPU_INCOMPATIBLE: "CPUIncompatible",
    libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED: "DomainUnsupported",
}
_MESSAGE_KEYS = (
    ('Failed to get "write" lock', DISK_IN_USE),
    ('Failed to get shared "write" lock', DISK_IN_USE),
    ("Cannot allocate memory", INSUFFICIENT_MEMORY),
    ("No space left on device", NO_SPACE),
)
"""What QEMU says on its way out, which libvirt passes on as text only."""


def translate(err: libvirt.libvirtError, what: str) -> errors.HyperdError:
    """The error to raise for ``err`` of a call that was to ``what`` ("start domain 6f1f…")."""
    code = err.get_error_code()
    reason = (err.get_error_message() or str(err)).strip().rstrip(".")
    sentence = f"Cannot {what}: {reason}."
    if code == libvirt.VIR_ERR_NO_DOMAIN:
        return errors.NotFound(f"Cannot {what}: libvirt has no such domain.")
    if code in _UNAVAILABLE:
        return errors.ServiceUnavailable(f"Cannot {what}: libvirt is not reachable ({reason}).")
    if code in (libvirt.VIR_ERR_DOM_EXIST, libvirt.VIR_ERR_OPERATION_FAILED) and "already exists" in reason:
        return errors.AlreadyExists(sentence)
    if code in (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_DOM_EXIST):
        return errors.Conflict(sentence)
    if code in (libvirt.VIR_ERR_AGENT_UNRESPONSIVE, libvirt.VIR_ERR_AGENT_UNSYNCED):
        return errors.ServiceUnavailable(f"Cannot {what}: the guest's agent does not answer.")
    if code == libvirt.VIR_ERR_OPERATION_TIMEOUT:
        return errors.Timeout(sentence)
    if code == libvirt.VIR_ERR_NO_SUPPORT:
        return errors.NotImplementedYet(sentence)
    for text, key in _MESSAGE_KEYS:
        if text in reason:
            return errors.TemporaryError(sentence, key=key)
    if code in _PERMANENT:
        return errors.PermanentError(sentence, key=_PERMANENT[code])
    return errors.TemporaryError(sentence)


def unavailable(what: str, why: str) -> errors.ServiceUnavailable:
    """libvirt cannot be asked at all."""
    return errors.ServiceUnavailable(f"Cannot {what}: libvirt is not reachable ({why}).")


def hung(what: str, why: str) -> errors.ServiceUnavailable:
    """libvirt is well, and this guest is not."""
    return errors.ServiceUnavailable(f"Cannot {what}: its QEMU does not answer ({why}).")
