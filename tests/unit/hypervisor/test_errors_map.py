"""What libvirt's errors become."""

from __future__ import annotations

import libvirt
import pytest

from hyperd import errors
from hyperd.hypervisor.connection.errors_map import translate


def raised(code: int, message: str) -> libvirt.libvirtError:
    err = libvirt.libvirtError("failed")
    err.err = (code, 0, message, 2, None, None, None, -1, -1)
    return err


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        (libvirt.VIR_ERR_NO_DOMAIN, "Domain not found", errors.NotFound),
        (libvirt.VIR_ERR_NO_CONNECT, "no connection", errors.ServiceUnavailable),
        (libvirt.VIR_ERR_RPC, "broken", errors.ServiceUnavailable),
        (libvirt.VIR_ERR_OPERATION_INVALID, "domain is not running", errors.Conflict),
        (libvirt.VIR_ERR_OPERATION_FAILED, "domain 'a' already exists with uuid b", errors.AlreadyExists),
        (libvirt.VIR_ERR_AGENT_UNRESPONSIVE, "not connected", errors.ServiceUnavailable),
        (libvirt.VIR_ERR_OPERATION_TIMEOUT, "cannot acquire state change lock", errors.Timeout),
        (libvirt.VIR_ERR_NO_SUPPORT, "not supported", errors.NotImplementedYet),
        (libvirt.VIR_ERR_CONFIG_UNSUPPORTED, "unsupported configuration", errors.PermanentError),
        (libvirt.VIR_ERR_XML_ERROR, "malformed", errors.PermanentError),
        (libvirt.VIR_ERR_INTERNAL_ERROR, "something odd", errors.TemporaryError),
    ],
)
def test_a_code_has_one_meaning(code: int, message: str, expected: type[errors.HyperdError]) -> None:
    translated = translate(raised(code, message), "start domain 1")
    assert type(translated) is expected
    assert str(translated).startswith("Cannot start domain 1: ")
    assert str(translated).endswith(".")


@pytest.mark.parametrize(
    ("message", "key"),
    [
        ('process exited while connecting to monitor: Failed to get "write" lock', "DiskInUse"),
        ("cannot set up guest memory 'pc.ram': Cannot allocate memory", "InsufficientMemory"),
        ("cannot write data to file: No space left on device", "NoSpace"),
    ],
)
def test_what_a_user_can_mend_has_a_key(message: str, key: str) -> None:
    translated = translate(raised(libvirt.VIR_ERR_INTERNAL_ERROR, message), "start domain 1")
    assert isinstance(translated, errors.TemporaryError)
    assert translated.key == key
