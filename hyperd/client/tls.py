"""TLS of a home: its own CA, and a client certificate that never touches the disk."""

from __future__ import annotations

import os
import ssl

from hyperd.client.home import Home


def context(home: Home) -> ssl.SSLContext:
    """The TLS settings for ``home``: 1.2 or newer, its CA alone when it names one."""
    made = ssl.create_default_context(cadata=home.ca.decode() if home.ca else None)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if not home.verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    if home.certificate:
        _load_pair(made, home.certificate + b"\n" + home.key)
    return made


def _load_pair(made: ssl.SSLContext, pem: bytes) -> None:
    # OpenSSL's loader wants a path; an anonymous memory file has one and is gone with its descriptor.
    descriptor = os.memfd_create("hv-client-certificate")
    try:
        os.write(descriptor, pem)
        made.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
