"""A node with an SSH server, for homes behind ``ssh://``: on loopback, without root, with keys of its own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh


@dataclass
class Sshd:
    """Takes the key in ``id`` and hands on to any unix socket."""

    folder: Path
    port: int = 0
    logins: int = 0
    _key: asyncssh.SSHKey = field(default_factory=lambda: asyncssh.generate_private_key("ssh-ed25519"))
    _server: asyncssh.SSHAcceptor | None = None
    _open: list[asyncssh.SSHServerConnection] = field(default_factory=list)

    @property
    def command(self) -> str:
        """What ``$HV_SSH_COMMAND`` is to be: nothing of the developer's is used."""
        return f"ssh -F {self.folder / 'config'}"

    def url(self, socket: Path) -> str:
        return f"ssh://admin@127.0.0.1:{self.port}{socket}"

    async def start(self) -> None:
        """Listen, at the same port as before."""
        sshd = self

        class Login(asyncssh.SSHServer):
            def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
                sshd._open.append(conn)

            def auth_completed(self) -> None:
                sshd.logins += 1

            def unix_connection_requested(self, dest_path: str) -> bool:
                return True

        self._server = await asyncssh.create_server(
            Login, "127.0.0.1", self.port, server_host_keys=[self._key],
            authorized_client_keys=str(self.folder / "authorized"),
        )  # fmt: skip
        self.port = self._server.get_port()
        known = f"[127.0.0.1]:{self.port} {self._key.export_public_key().decode()}"
        (self.folder / "known").write_text(known)

    async def stop(self) -> None:
        """Go, with every connection."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None
        for conn in self._open:
            conn.abort()
        self._open.clear()


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Sshd]:
    """A started one; the user's key, what it knows of the node and its configuration are in ``folder``."""
    for name in ("id", "other"):
        key = asyncssh.generate_private_key("ssh-ed25519")
        (folder / name).write_bytes(key.export_private_key("openssh"))
        (folder / name).chmod(0o600)
        if name == "id":
            (folder / "authorized").write_bytes(key.export_public_key())
    (folder / "config").write_text(
        f"IdentityFile {folder}/id\nIdentitiesOnly yes\nIdentityAgent none\n"
        f"UserKnownHostsFile {folder}/known\nGlobalKnownHostsFile none\nStrictHostKeyChecking yes\n"
    )
    sshd = Sshd(folder)
    await sshd.start()
    try:
        yield sshd
    finally:
        await sshd.stop()


def environment(sshd: Sshd) -> dict[str, str]:
    """For a program that is to use it."""
    runtime = sshd.folder / "r"
    runtime.mkdir(exist_ok=True)
    return {"HV_SSH_COMMAND": sshd.command, "XDG_RUNTIME_DIR": str(runtime), "PATH": os.environ["PATH"]}
