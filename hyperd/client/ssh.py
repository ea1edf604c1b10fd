"""A home behind ``ssh://[USER@]HOST[:PORT][/SOCKET]``: the user's own ssh brings its socket here.

Nothing is set up there but hyperd. Whoever needs the home first starts ``ssh`` as a master that forwards the
socket into a folder which only the user can enter. All programs of the user share it; it ends by itself
``PERSIST_SECONDS`` after the last connection, so that a program that was killed leaves nothing over. Blocking.
"""

from __future__ import annotations

import hashlib
import os
import re

from hyperd.client.home import DEFAULT_NAMESPACE, DEFAULT_SOCKET, Home
from hyperd.errors import BadRequest, HyperdError, ServiceUnavailable, Unauthorized

SCHEME = "ssh://"
PERSIST_SECONDS = 60
_CONNECT_SECONDS = 8
_URL = re.compile(
    r"ssh://(?:(?P<user>[A-Za-z0-9_][\w.+-]*)@)?(?P<host>[A-Za-z0-9][\w.-]*|\[[0-9A-Fa-f:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<socket>(?:/[\w.-]+)*)/?\Z"
)
"""No part of it can be taken for a flag of ssh, and none has what ssh expands: ``%h`` and ``${HOME}``."""
_PLAIN_PATH = re.compile(r"[\w./-]+\Z")
_LONGEST_FOLDER = 80
"""The path of a socket ends at 108 bytes."""
_OPTIONS = (
    f"ConnectTimeout={_CONNECT_SECONDS}", "ServerAliveInterval=5", "ServerAliveCountMax=3",
    "ControlMaster=yes", f"ControlPersist={PERSIST_SECONDS}",
    "ExitOnForwardFailure=yes", "StreamLocalBindUnlink=yes", "StreamLocalBindMask=0177",
    "ForwardAgent=no", "ForwardX11=no", "LogLevel=ERROR",
)  # fmt: skip


def home(url: str, *, name: str = "", namespace: str = "") -> Home:
    """The home at ``url``. Raises BadRequest for what is no such address."""
    found = _URL.fullmatch(url)
    if found is None or int(found["port"] or 22) not in range(1, 65536):
        raise BadRequest(f"{url} is no address like ssh://root@node or ssh://root@node:22/run/hyperd/hyperd.sock.")
    return Home(
        name=name or found["host"].strip("[]"),
        socket=os.path.join(_folder(), f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.sock"),
        namespace=namespace or DEFAULT_NAMESPACE,
        ssh=url,
    )


def reach(home: Home, *, ask: bool) -> None:
    """Have the home's socket be there; ``ask`` lets ssh ask the user on the terminal.

    Raises Unauthorized where the login or the host's key is refused, ServiceUnavailable where ssh gets nowhere.
    """
    import fcntl

    folder = os.path.dirname(home.socket)
    _own(folder)
    path = home.socket.removesuffix(".sock")
    with open(f"{path}.lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _listens(home.socket):
            _start(home, path, ask=ask)


def unanswered(home: Home) -> HyperdError:
    """What it means that ssh reaches the node, and the socket there gives no answer."""
    found = _URL.fullmatch(home.ssh)
    socket = (found and found["socket"]) or DEFAULT_SOCKET
    return ServiceUnavailable(
        f"ssh reaches {home.name}, but nothing answers at {socket} there: hyperd does not run, this login may not "
        "open its socket, or its sshd forbids AllowStreamLocalForwarding."
    )


def _start(home: Home, path: str, *, ask: bool) -> None:
    import shlex
    import subprocess

    found = _URL.fullmatch(home.ssh)
    assert found is not None  # noqa: S101  it was made of one
    command = [*shlex.split(os.environ.get("HV_SSH_COMMAND", "") or "ssh"), "-f", "-N", "-T"]
    for option in (*_OPTIONS, f"BatchMode={'no' if ask else 'yes'}", f"ControlPath={path}.ctl"):
        command += ["-o", option]
    command += ["-L", f"{home.socket}:{found['socket'] or DEFAULT_SOCKET}"]
    command += ["-p", found["port"]] if found["port"] else []
    command += ["-l", found["user"]] if found["user"] else []
    command += ["--", found["host"].strip("[]")]
    # ssh lives on behind us and would keep a pipe open: what it says goes into a file.
    with open(f"{path}.log", "wb+") as said:
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=False,
                                  timeout=None if ask else 3 * _CONNECT_SECONDS)  # fmt: skip
        except OSError as err:
            raise ServiceUnavailable(f"{command[0]} cannot be run for {home.ssh}: {err.strerror}.") from err
        except subprocess.TimeoutExpired as err:
            raise ServiceUnavailable(f"{home.ssh}: the login does not come to an end.") from err
        said.seek(0)
        text = said.read(4096).decode("utf-8", "replace")
    if done.returncode:
        raise _refusal(home, text)


def _refusal(home: Home, said: str) -> HyperdError:
    """ssh's own words, and what mends it."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith("@")]
    last = lines[-1] if lines else "ssh ended without a word"
    login = home.ssh.removeprefix(SCHEME).partition("/")[0]
    by_hand = f"ssh {SCHEME}{login}"
    if "IDENTIFICATION HAS CHANGED" in said:
        host = login.rpartition("@")[2]
        return Unauthorized(
            f"{home.ssh}: the host's key is not the one that ssh knows: another machine answers, or it was "
            f"installed anew. If that is so, ssh-keygen -R {host} forgets the old one."
        )
    if "Host key verification failed" in said:
        return Unauthorized(f"{home.ssh}: ssh does not know the host's key yet; look at it once with `{by_hand}`.")
    if "Permission denied" in said or "Too many authentication failures" in said:
        return Unauthorized(
            f"{home.ssh}: the login is refused ({last}). Load your key with ssh-add, or see `{by_hand}`."
        )
    return ServiceUnavailable(f"{home.ssh} cannot be reached: {last}.")


def _listens(path: str) -> bool:
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def _folder() -> str:
    """Of this user alone, on no disk where there is such a place."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/") and len(runtime) <= _LONGEST_FOLDER and _PLAIN_PATH.match(runtime):
        return os.path.join(runtime, "hyperd-ssh")
    return f"/tmp/hyperd-ssh-{os.getuid()}"  # noqa: S108  used if it is ours and nobody else's, see _own


def _own(folder: str) -> None:
    """Raises ServiceUnavailable where the folder is, or could be, somebody else's."""
    import stat

    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        pass
    except OSError as err:
        raise ServiceUnavailable(f"{folder} cannot be made: {err.strerror}.") from err
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ServiceUnavailable(f"{folder} is not a folder of this user alone; remove it.")
