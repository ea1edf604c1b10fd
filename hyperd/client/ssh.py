"""A home behind ``ssh://[USER@]HOST[:PORT][/SOCKET]``: the user's own ssh brings its socket here.

Nothing is set up there but hyperd. Whoever needs the home first starts ``ssh`` as a master that forwards the
socket into a folder which only the user can enter. All programs of the user share it; it ends by itself
``PERSIST_SECONDS`` after the last connection, so that a program that was killed leaves nothing over. Blocking.
"""

from __future__ import annotations

import hashlib
import os
import re
import time

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
_LOGIN_SECONDS = 3.0 * _CONNECT_SECONDS
"""A login that nobody is asked for ends after so long, another program's too."""
_LOOK_SECONDS = 0.1
_PROBE_SECONDS = 2.0

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from asyncio.trsock import TransportSocket
    from typing import BinaryIO


class _Terminal:
    """Whether ssh may ask on it."""

    drawn_on = False


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


def ask_nobody() -> None:
    """From now on this process asks for no password: it draws on the terminal."""
    _Terminal.drawn_on = True


def may_ask() -> bool:
    """Whether there is somebody at a terminal who sees a question."""
    return not _Terminal.drawn_on and os.isatty(0) and os.isatty(2)


def own(home: Home) -> None:
    """Have the folder of the home's socket; to be called before anything there is connected to.

    Raises ServiceUnavailable where the folder is, or could be, somebody else's.
    """
    _own(os.path.dirname(home.socket))


def trust(home: Home, connected: socket.socket | TransportSocket) -> None:
    """Raises ServiceUnavailable where who listens at the home's socket is not this user's ssh."""
    import socket
    import struct

    credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    if uid != os.getuid():
        raise ServiceUnavailable(
            f"{home.socket} is served by the user {uid}, not by your ssh; nothing was sent there. Remove it."
        )


def reach(home: Home, *, ask: bool, patience: float = _LOGIN_SECONDS) -> None:
    """Have the home's socket be there; ``ask`` lets ssh ask the user on the terminal.

    Where it may not, another program's login is waited for only ``patience`` seconds: it may ask somebody.
    Raises Unauthorized where the login or the host's key is refused, ServiceUnavailable where ssh gets nowhere.
    """
    import fcntl

    own(home)
    path = home.socket.removesuffix(".sock")
    deadline = time.monotonic() + patience
    with open(f"{path}.lock", "wb") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX if ask else fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ServiceUnavailable(f"{home.ssh}: another hv is at its login there.") from None
            time.sleep(_LOOK_SECONDS)
        if not _listens(home):
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
    import contextlib
    import shlex

    found = _URL.fullmatch(home.ssh)
    assert found is not None  # noqa: S101  it was made of one
    command = [*shlex.split(os.environ.get("HV_SSH_COMMAND", "") or "ssh"), "-f", "-N", "-T"]
    for option in (*_OPTIONS, f"BatchMode={'no' if ask else 'yes'}", f"ControlPath={path}.ctl"):
        command += ["-o", option]
    command += ["-L", f"{home.socket}:{found['socket'] or DEFAULT_SOCKET}"]
    command += ["-p", found["port"]] if found["port"] else []
    command += ["-l", found["user"]] if found["user"] else []
    command += ["--", found["host"].strip("[]")]
    # What a killed master has left keeps the next one from being a master, and from ever ending.
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{path}.ctl")
    # ssh lives on behind us and would keep a pipe open: what it says goes into a file.
    with open(f"{path}.log", "wb+") as said:
        code = _run(home, command, said, ask=ask)
        said.seek(0)
        text = said.read(4096).decode("utf-8", "replace")
    if code:
        raise _refusal(home, text)


def _run(home: Home, command: list[str], said: BinaryIO, *, ask: bool) -> int:
    """How ssh ended or went to the background; where nobody may be asked, what it runs has no terminal either."""
    import signal
    import subprocess

    quiet = {} if ask else {"SSH_ASKPASS_REQUIRE": "never"}
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                                   env={**os.environ, **quiet}, start_new_session=not ask)  # fmt: skip
    except OSError as err:
        raise ServiceUnavailable(f"{command[0]} cannot be run for {home.ssh}: {err.strerror}.") from err
    try:
        return process.wait(None if ask else _LOGIN_SECONDS)
    except subprocess.TimeoutExpired as err:
        raise ServiceUnavailable(f"{home.ssh}: the login does not come to an end.") from err
    finally:
        if process.returncode is None:
            if ask:
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


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


def _listens(home: Home) -> bool:
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_SECONDS)
        try:
            probe.connect(home.socket)
        except OSError:
            return False
        trust(home, probe)
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
