"""The daemon's own certificates: a CA, the server's, and one administrator's for kubectl.

Keys are 0600 and appear whole or not at all. Both leaves are made anew before they end, or when the host's names
change; the CA stays, so printed kubeconfigs keep working. ``certificates`` makes them, in a process of its own.
"""

from __future__ import annotations

import base64
import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from hyperd import clock, durable
from hyperd.api.access.rules import MASTERS
from hyperd.errors import PermanentError
from hyperd.settings import Settings

_RENEW_BEFORE_SECONDS = 60 * 86_400.0
_MAKING_SECONDS = 60.0
_DAY_SECONDS = 86_400.0
_FLIGHTS = 6

_KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: {name}
clusters:
- name: {name}
  cluster:
    server: {server}
    certificate-authority-data: {authority}
users:
- name: {user}
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
contexts:
- name: {name}
  context:
    cluster: {name}
    user: {user}
    namespace: default
"""


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key on disk."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Lasting:
    """How long certificates last, in seconds."""

    leaf: float = 365 * _DAY_SECONDS
    ca: float = 3650 * _DAY_SECONDS
    renew_before: float = _RENEW_BEFORE_SECONDS
    """So long before its end a leaf is made anew."""


@dataclass(frozen=True)
class Pki:
    """Where the certificates lie."""

    ca: Pair
    server: Pair
    client: Pair


def ensure(settings: Settings) -> Pki:
    """Make what is missing or about to end. Blocking. Raises PermanentError when the folder cannot be used."""
    names = server_names(settings.api.host)
    return ensure_in(settings.pki_dir, settings.instance, names, client="admin", group=MASTERS)


def ensure_in(
    folder: Path,
    instance: str,
    names: tuple[str, ...],
    *,
    client: str,
    group: str,
    lasting: Lasting | None = None,
) -> Pki:
    """As ``ensure``, for a server called ``names`` and a ``client``; a CA that is in ``folder`` stays.

    Its file may have more of them, which are trusted too: the first one signs.
    """
    lasting = lasting or Lasting(renew_before=_RENEW_BEFORE_SECONDS)
    pki = Pki(*(Pair(folder / f"{name}.crt", folder / f"{name}.key") for name in ("ca", "server", client)))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        if not _hold(pki, names, lasting.renew_before):
            _make(folder, instance, client, group, names, lasting)
    except OSError as err:
        raise PermanentError(
            f"Certificates in {folder} cannot be read or written: {err}. Mend the folder, or remove it to have "
            "new ones made; kubeconfigs printed before then end to work."
        ) from err
    return pki


def _make(folder: Path, instance: str, client: str, group: str, names: tuple[str, ...], lasting: Lasting) -> None:
    argv = [sys.executable, "-P", "-m", "hyperd.api.certificates.signing"]
    argv += [f"--leaf-days={lasting.leaf / _DAY_SECONDS}", f"--ca-days={lasting.ca / _DAY_SECONDS}"]
    argv += ["--", str(folder), instance, client, group, *names]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_MAKING_SECONDS, check=False)
    except subprocess.TimeoutExpired as err:
        raise OSError(f"making them took more than {_MAKING_SECONDS:.0f} s") from err
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:]
        raise OSError(*(reason or [f"the program that makes them ended with {done.returncode}"]))


def _hold(pki: Pki, names: tuple[str, ...], renew_before: float) -> bool:
    """Whether client and server accept each other, for long enough and under all ``names``."""
    try:
        server, client = _shake_hands(pki)
    except (OSError, ValueError):
        return False
    ends = min(ssl.cert_time_to_seconds(certificate["notAfter"]) for certificate in (server, client))
    named = {_plain(name) for _, name in server.get("subjectAltName", ())}
    return ends - clock.wall() > renew_before and named >= {_plain(name) for name in names}


def _shake_hands(pki: Pki) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """What the client sees of the server, and the server of the client, in memory.

    Keys, signatures and dates are checked as real clients will. Raises OSError or ValueError where they fail.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(pki.ca.certificate)
    client.load_cert_chain(pki.client.certificate, pki.client.key)
    server = server_context(pki)
    server.verify_mode = ssl.CERT_REQUIRED
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = client.wrap_bio(down, up), server.wrap_bio(up, down, server_side=True)
    for _ in range(_FLIGHTS):
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
    seen = sides[0].getpeercert(), sides[1].getpeercert()  # ValueError where the handshake has not ended
    return seen[0] or {}, seen[1] or {}


def _plain(name: str) -> str:
    """A host name, or an address in its one form."""
    try:
        return str(ip_address(name))
    except ValueError:
        return name


def server_context(pki: Pki) -> ssl.SSLContext:
    """TLS 1.2 and up; client certificates of our CA are asked for and verified."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(pki.server.certificate, pki.server.key)
    context.load_verify_locations(pki.ca.certificate)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    return context


def renew(settings: Settings, context: ssl.SSLContext, port: int) -> None:
    """Renew what is about to end and put it to use. Blocking. Raises PermanentError, OSError."""
    pki = ensure(settings)
    context.load_cert_chain(pki.server.certificate, pki.server.key)
    write_kubeconfig(settings, pki, port)


def write_kubeconfig(settings: Settings, pki: Pki, port: int) -> None:
    """The administrator's kubeconfig, 0600, with everything inside. Blocking."""

    def inline(path: Path) -> str:
        return base64.b64encode(path.read_bytes()).decode()

    name = settings.instance
    host = settings.api.host if _is_specific(settings.api.host) else "127.0.0.1"
    address = f"[{host}]" if ":" in host else host
    text = _KUBECONFIG.format(
        name=json.dumps(name),
        user=json.dumps(f"admin@{name}"),
        server=json.dumps(f"https://{address}:{port}"),
        authority=inline(pki.ca.certificate),
        certificate=inline(pki.client.certificate),
        key=inline(pki.client.key),
    )
    settings.kubeconfig_path.parent.mkdir(parents=True, exist_ok=True)
    durable.write(settings.kubeconfig_path, text.encode())


def _is_specific(host: str) -> bool:
    try:
        return not ip_address(host).is_unspecified
    except ValueError:
        return True


def server_names(host: str) -> tuple[str, ...]:
    """What a server that listens on ``host`` is called by its clients."""
    names = ["localhost", "127.0.0.1", "::1", socket.gethostname(), socket.getfqdn()]
    if _is_specific(host):
        names.append(host)
    return tuple(dict.fromkeys(name for name in names if name))
