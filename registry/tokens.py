"""Tokens of the distribution's protocol, by which the embedded registry knows who may do what in which repository.

A token is a JWT for minutes and one repository. What signs it lives in memory for a day, with a certificate that
goes along with each token and is signed by the root. The root's key stays in the state folder, and its certificate
is all that the registry trusts: so keys change, and the registry need not hear of it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hyperd import clock, durable
from hyperd.errors import PermanentError, ServiceUnavailable
from hyperd.jsontypes import Json, JsonObject

if TYPE_CHECKING:
    from registry.signing import Key

ISSUER: Final = "hyperd"
TOKEN_PATH: Final = "/auth/token"  # noqa: S105  an address
"""Where hyperd gives tokens to others."""
PULL: Final = "pull"
PUSH: Final = "push"
DELETE: Final = "delete"
_SECONDS: Final = 60
"""Of a token for one request, which is judged when it begins."""
_SKEW_SECONDS: Final = 60
"""That a clock may have been set back since a token was made."""
_LOOK_SECONDS: Final = 10.0
"""After which it is looked whether another process has made another root."""


@dataclass(frozen=True)
class Access:
    """What may be done in ``repository``, a full name."""

    repository: str
    actions: tuple[str, ...]
    type: str = "repository"


def pulls(repository: str) -> Access:
    """Reading it."""
    return Access(repository, (PULL,))


def pushes(repository: str) -> Access:
    """Reading and writing it."""
    return Access(repository, (PULL, PUSH))


def deletes(repository: str) -> Access:
    """Removing what is in it."""
    return Access(repository, (DELETE,))


CATALOG: Final = Access("catalog", ("*",), "registry")
"""Reading the names of all repositories."""


@dataclass(frozen=True)
class Shown:
    """What is to be believed of a token. ``beside`` is what its maker has put there for itself."""

    subject: str
    access: tuple[Access, ...]
    beside: JsonObject

    def lets(self, wanted: Access) -> bool:
        """Whether all of ``wanted`` may be done with it."""
        return any(
            (one.type, one.repository) == (wanted.type, wanted.repository) and {*wanted.actions} <= {*one.actions}
            for one in self.access
        )


class Tokens:
    """Makes the tokens that the registry believes which trusts ``folder``. ``service`` is that registry's name.

    Each process has its own, over the one root.
    """

    def __init__(self, folder: Path, service: str) -> None:
        self._folder = folder
        self.service = service
        self._key: Key | None = None
        self._root: Key | None = None
        self._looked = 0.0

    def open(self) -> Path:
        """Have a root; the file with the certificate that the registry is to trust, another one for another root.

        For who starts the registry. Blocking. Raises PermanentError where the folder cannot be used.
        """
        from registry import signing

        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._folder.chmod(0o700)
            root = signing.kept_root(self._folder)
            if root is None or signing.is_old(self._folder):
                root = signing.make_root(self._folder)
            trusted = self._folder / f"{root.fingerprint}.crt"
            if not trusted.exists():
                durable.write(trusted, root.pem)
            for former in self._folder.glob("*.crt"):
                if former != trusted:
                    former.unlink()
        except OSError as err:
            raise PermanentError(f"The keys of the registry in {self._folder} cannot be used: {err}.") from err
        self._take(root)
        return trusted

    async def token(
        self,
        subject: str,
        access: Iterable[Access] = (),
        *,
        seconds: int = _SECONDS,
        beside: JsonObject | None = None,
    ) -> str:
        """For ``subject``, who may do ``access`` for so long from now; ``shown`` gives ``beside`` back.

        Raises ServiceUnavailable where no registry was started yet.
        """
        key = self._key
        if key is None or not key.fresh or clock.elapsed() - self._looked > _LOOK_SECONDS:
            key = await asyncio.to_thread(self._look)
        now = int(clock.wall())
        granted: list[Json] = [
            {"type": one.type, "name": one.repository, "actions": list(one.actions)} for one in access
        ]
        return key.token(
            {
                "iss": ISSUER,
                "sub": subject,
                "aud": self.service,
                "iat": now,
                "nbf": now,
                "exp": now + seconds,
                "jti": secrets.token_hex(8),
                "access": granted,
                **({"hyperd": beside} if beside else {}),
            }
        )

    async def shown(self, token: str) -> Shown | None:
        """What ``token`` says; None where it is not one of these, or is over.

        Raises ServiceUnavailable where no registry was started yet.
        """
        from registry import signing

        root = self._root
        if root is None or clock.elapsed() - self._looked > _LOOK_SECONDS:
            await asyncio.to_thread(self._look)
            root = self._root
        claims = signing.claims_of(token, root) if root is not None else None
        if claims is None:
            return None
        now = clock.wall()
        match claims:
            case {
                "iss": str(issuer),
                "aud": str(audience),
                "sub": str(subject),
                "nbf": int(first),
                "exp": int(end),
                "access": [*granted],
            } if (issuer, audience) == (ISSUER, self.service) and first - _SKEW_SECONDS <= now < end:
                beside = claims.get("hyperd")
                return Shown(subject, tuple(map(_access, granted)), beside if isinstance(beside, dict) else {})
        return None

    def doubt(self) -> None:
        """One was not taken: look before the next one."""
        self._looked = -_LOOK_SECONDS

    def _look(self) -> Key:
        """A key by the root that is there now."""
        from registry import signing

        try:
            root = signing.kept_root(self._folder)
        except OSError as err:
            raise ServiceUnavailable(f"The keys of the registry cannot be read: {err}.") from err
        if root is None:
            raise ServiceUnavailable("The registry is not started yet.", retry_after_seconds=2)
        return self._take(root)

    def _take(self, root: Key) -> Key:
        from registry import signing

        key = self._key
        if key is None or not key.fresh or self._root is None or root.fingerprint != self._root.fingerprint:
            key = signing.key_of(root)
        self._key, self._root, self._looked = key, root, clock.elapsed()
        return key


def _access(granted: Json) -> Access:
    """As ``token`` wrote it; what it did not write lets nobody do anything."""
    match granted:
        case {"type": str(type_), "name": str(name), "actions": [*actions]}:
            return Access(name, tuple(str(action) for action in actions), type_)
    return Access("", ())
