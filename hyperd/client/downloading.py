"""What a disk holds out of a home and into a file, which goes on where it was broken off, also by another ``hv``.

Until it is whole the file has another name, with the version of the content in it: a server that has another one
by then sends all of it again, and so it never becomes a mixture. Zeros are not written.
"""

from __future__ import annotations

import fcntl
import glob
import hashlib
import os
import re
import stat
import time
from contextlib import contextmanager

from hyperd.client import failure
from hyperd.client.http1 import Connection, ConnectionLost
from hyperd.errors import Conflict, HyperdError, InternalError, ServiceUnavailable, TooManyRequests

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO, Protocol

    from hyperd.client.home import Home
    from hyperd.client.http1 import Response

    class Sink(Protocol):
        """What content goes into that is no file of its own."""

        def write(self, data: bytes, /) -> object: ...

        def flush(self) -> object: ...


_SILENCE_SECONDS = 120.0
"""A server may have to fetch an image or wait for a disk before it begins."""
_TRIES = 8
"""In a row without a byte: half a minute, in which a daemon may be restarted."""
_VERSIONS = 3
"""That a server may begin with."""
_LONGEST_WAIT_SECONDS = 10.0
_BLOCK_BYTES = 64 << 10
_ZEROS = bytes(_BLOCK_BYTES)
_VERSION = re.compile(r'"([0-9a-f]{32})"')
_PART = re.compile(r"\.([0-9a-f]{32})\.part")
_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,18})-\d{1,18}|\*)/(\d{1,18})")
_LONGEST_REFUSAL = 1 << 20


class Unwritable(Exception):
    """What has come cannot be kept; its cause is why."""


class Part:
    """What has come, into something that only goes on."""

    def __init__(self, sink: Sink | None) -> None:
        self._sink = sink
        self.version = ""
        """Of the content, once it has begun."""
        self.done = 0
        """Bytes that are there."""
        self.sha256 = hashlib.sha256()
        self.digest = ""
        """What it should be in the end, where the server has told."""

    def begin(self, version: str) -> None:
        """From the first byte on, of this version. Raises Conflict where that is too late."""
        if self.done:
            raise Conflict("The content changed while it was read; read it again from its begin.")
        self.version = version

    def write(self, piece: bytes) -> None:
        """The next bytes. Raises Unwritable."""
        try:
            self._put(piece)
        except OSError as err:
            raise Unwritable from err
        self.sha256.update(piece)
        self.done += len(piece)

    def keep(self) -> None:
        """What has come is where it is to be. Raises Unwritable."""
        try:
            if self._sink is not None:
                self._sink.flush()
        except OSError as err:
            raise Unwritable from err

    def discard(self) -> None:
        """Keep nothing of it."""

    def _put(self, piece: bytes) -> None:
        assert self._sink is not None  # noqa: S101  what is written was begun
        self._sink.write(piece)


class FilePart(Part):
    """A file at ``path`` once it is whole, and until then beside it: another one goes on with that."""

    def __init__(self, path: str) -> None:
        """Raises Conflict while another ``hv`` has it."""
        super().__init__(None)
        self.path = path
        self._file: BinaryIO | None = None
        for name in sorted(glob.glob(f"{glob.escape(path)}.*.part"), key=_changed, reverse=True):
            match = _PART.fullmatch(name[len(path) :])
            if match is not None and self._file is None and (kept := _kept(name)) is not None:
                self.version, self._file = match[1], self._locked(kept)

    @property
    def name(self) -> str:
        """Where it is until it is whole."""
        return f"{self.path}.{self.version}.part"

    def take_up(self, told: Callable[[int], None]) -> None:
        """Read what an earlier one left, for the checksum."""
        while self._file is not None and (block := self._file.read(1 << 20)):
            self.sha256.update(block)
            self.done += len(block)
            told(self.done)

    def begin(self, version: str) -> None:
        self.discard()
        self.version = version
        try:
            created = os.open(self.name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            name, self.version = self.name, ""
            raise Conflict(f"{name} is there, and is not what hv left for itself alone; remove it.") from None
        self._file = self._locked(created)

    def keep(self) -> None:
        """With its length: zeros at its end were not written."""
        try:
            if self._file is not None:
                self._file.flush()
                self._file.truncate(self.done)
        except OSError as err:
            err.filename = err.filename or self.name
            raise Unwritable from err

    def publish(self) -> None:
        """It is whole."""
        from hyperd import durable

        self.keep()
        durable.publish(self.name, self.path)

    def discard(self) -> None:
        if self._file is not None:
            os.unlink(self.name)
            self.close()
        self._file, self.version, self.done = None, "", 0
        self.sha256, self.digest = hashlib.sha256(), ""

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _put(self, piece: bytes) -> None:
        assert self._file is not None  # noqa: S101  what is written was begun
        try:
            if piece == _ZEROS[: len(piece)]:
                self._file.seek(len(piece), os.SEEK_CUR)
            else:
                self._file.write(piece)
        except OSError as err:
            err.filename = err.filename or self.name
            raise

    def _locked(self, descriptor: int) -> BinaryIO:
        """Raises Conflict while another ``hv`` has it."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise Conflict(f"{self.path} is being written by another hv.") from None
        except BaseException:
            os.close(descriptor)
            raise
        return os.fdopen(descriptor, "r+b")


def download(home: Home, path: str, part: Part, *, told: Callable[[int, int], None]) -> None:
    """Fetch all that is missing, and the checksum if the server knows it by then.

    ``told`` is called with the bytes that are there and those that there will be. What comes is kept however this
    ends. Raises what the server refuses it with, ServiceUnavailable where it is not reached any more, Unwritable.
    """
    error: HyperdError
    tries = versions = 0
    while True:
        before, version = part.done, part.version
        try:
            part.digest = _fetch(home, path, part, told)
            return
        except (OSError, ServiceUnavailable, TooManyRequests) as err:
            # A server that cannot read on cuts its answer, and says why when it is asked for the rest.
            if isinstance(err, HyperdError):
                error, wait = err, err.retry_after_seconds
            else:
                error, wait = failure.from_os_error(err, home), None
        finally:
            part.keep()
        if part.version != version:
            tries, versions = 0, versions + 1
        else:
            tries = 0 if part.done > before else tries + 1
        if tries > _TRIES or versions > _VERSIONS or (wait is None and not (part.done or versions)):
            raise error
        time.sleep(min(_LONGEST_WAIT_SECONDS, wait or tries))


def _fetch(home: Home, path: str, part: Part, told: Callable[[int, int], None]) -> str:
    headers = {"Accept": "*/*"}
    if part.version and part.done:
        headers |= {"Range": f"bytes={part.done}-", "If-Range": f'"{part.version}"'}
    connection = Connection(home, timeout=_SILENCE_SECONDS)
    try:
        response = connection.request("GET", path, headers=headers)
        size = _begun(response, part)
        told(part.done, size)
        if response.status != 416:
            for piece in response.pieces():
                part.write(piece)
                told(part.done, size)
        if part.done != size:
            raise ServiceUnavailable(f"The server sent {part.done} bytes, where it has {size}.")
        return _digest(response)
    finally:
        connection.close()


def _begun(response: Response, part: Part) -> int:
    """The size of all, once ``part`` is where the answer goes on."""
    version = _VERSION.fullmatch(response.header("etag"))
    content = _CONTENT_RANGE.fullmatch(response.header("content-range"))
    same = version is not None and version[1] == part.version
    if response.status == 206 and content and same and content[1] == str(part.done):
        return int(content[2])
    if response.status == 416 and content and same and int(content[2]) == part.done:
        return part.done
    if response.status == 416:
        part.discard()
        raise ConnectionLost("What was there is longer than the content.")
    if response.status >= 400:
        raise failure.from_response(response.status, _refusal(response))
    length = response.header("content-length")
    if response.status != 200 or version is None or not (length.isascii() and length.isdigit()):
        raise InternalError("The server answers otherwise than a hyperd that exports disks.")
    part.begin(version[1])
    return int(length)


def _refusal(response: Response) -> bytes:
    whole = b""
    for piece in response.pieces():
        whole += piece
        if len(whole) > _LONGEST_REFUSAL:
            break
    return whole


def _digest(response: Response) -> str:
    """Of the whole, in hex."""
    from base64 import b64decode

    match = re.fullmatch(r"sha-256=:([A-Za-z0-9+/]{43}=):", response.header("repr-digest"))
    return b64decode(match[1]).hex() if match else ""


def expected(home: Home, path: str, part: Part, *, said: Callable[[str], None]) -> str:
    """The checksum that ``part``, which is whole, should have, as the server knows it or finds it out now.

    Empty where it has another content by now. ``said`` hears how far it is.
    """
    said("checking")
    return part.digest or checksum(
        home, f"{path}&checksum=sha256", part, told=lambda much: said(f"checking, {much}")
    )


@contextmanager
def plain_errors() -> Iterator[None]:
    """What cannot be written is told by what kept it from being."""
    try:
        yield
    except Unwritable as err:
        raise err.__cause__ or err from None


def checksum(home: Home, path: str, part: Part, *, told: Callable[[str], None]) -> str:
    """What the server finds the content of this version to add up to; empty where it has another one by now."""
    connection = Connection(home, timeout=_SILENCE_SECONDS)
    why = ""
    try:
        response = connection.request("GET", path, headers={"Accept": "*/*"})
        if response.status >= 400:
            raise failure.from_response(response.status, _refusal(response))
        if response.status != 200:
            raise InternalError("The server answers otherwise than a hyperd that exports disks.")
        if response.header("etag") != f'"{part.version}"':
            return ""
        for line in response.lines():
            text = line.decode("ascii", "replace")
            if match := re.fullmatch(r"([0-9a-f]{64})  .*", text):
                return match[1]
            if match := re.fullmatch(r"# (\d{1,3} %)", text):
                told(match[1])
            elif text.startswith("# "):
                why = text[2:]
        raise ServiceUnavailable("The server ended before it had computed the checksum.")
    except OSError as err:
        raise InternalError(why) if why else failure.from_os_error(err, home) from err
    finally:
        connection.close()


def _changed(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


def _kept(name: str) -> int | None:
    """A descriptor of what an earlier ``hv`` of the same user has left there; None for what others may have.

    In a folder that many write to it may be anybody's, who would read on, or have put something else there.
    """
    try:
        descriptor = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    found = os.fstat(descriptor)
    ours = found.st_uid == os.geteuid() and not found.st_mode & 0o077 and found.st_nlink == 1
    if ours and stat.S_ISREG(found.st_mode):
        return descriptor
    os.close(descriptor)
    return None
