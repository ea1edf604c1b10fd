"""Where a home is, and how to prove who asks."""

from __future__ import annotations

import os

DEFAULT_SOCKET = "/run/hyperd/hyperd.sock"
DEFAULT_NAMESPACE = "default"


class Home:
    """One reachable API. Either ``socket`` or ``host`` and ``port`` are set.

    ``ssh`` is the address from which ssh brings the socket, where it does.
    ``prefix`` is the path of the server's URL (clusters behind proxies have one). Certificates are PEM bytes,
    never paths, so that a kubeconfig with inline data leaves nothing on disk.
    """

    __slots__ = (
        "ca", "certificate", "host", "key", "name", "namespace", "port", "prefix", "server_name", "socket",
        "ssh", "tls", "token", "verify",
    )  # fmt: skip

    def __init__(
        self,
        *,
        name: str,
        socket: str = "",
        ssh: str = "",
        host: str = "",
        port: int = 0,
        prefix: str = "",
        tls: bool = False,
        ca: bytes = b"",
        certificate: bytes = b"",
        key: bytes = b"",
        token: str = "",
        server_name: str = "",
        verify: bool = True,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> None:
        self.name = name
        self.socket = socket
        self.ssh = ssh
        self.host = host
        self.port = port
        self.prefix = prefix.rstrip("/")
        self.tls = tls
        self.ca = ca
        self.certificate = certificate
        self.key = key
        self.token = token
        self.server_name = server_name or host
        self.verify = verify
        self.namespace = namespace

    @property
    def where(self) -> str:
        """What the user knows it by, for messages."""
        return (
            self.ssh or self.socket or f"{'https' if self.tls else 'http'}://{self.host}:{self.port}{self.prefix}"
        )


def local(socket: str, *, namespace: str = "") -> Home:
    """The daemon behind a unix socket; the socket's permissions and peer credentials are the login."""
    folder = os.path.dirname(os.path.abspath(socket))
    if os.path.basename(folder) == "run":
        folder = os.path.dirname(folder)
    name = "local" if socket == DEFAULT_SOCKET else os.path.basename(folder) or "local"
    return Home(name=name, socket=socket, namespace=namespace or DEFAULT_NAMESPACE)
