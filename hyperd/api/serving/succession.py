"""How the CA that all hyperds of a cluster share is followed by another one, with nobody left who trusts neither.

Three steps, each one write to the Secret that has it, and after each all daemons have time to see it: the next CA
is there and trusted, it signs, the former one is trusted no more. Whichever daemon sees first that a step is due
takes it.
"""

from __future__ import annotations

import base64
import binascii
import ssl
from dataclasses import dataclass, replace
from typing import Final

from hyperd.errors import PermanentError
from hyperd.resources.schema.kind import Object
from hyperd.resources.values.names import CA_SECRET, SYSTEM_NAMESPACE

RENEW: Final = "virtualization.deckhouse.io/renew"
"""Annotation of the Secret by which an administrator asks for another CA now."""
_CERTIFICATE, _KEY = "tls.crt", "tls.key"
_NEXT_CERTIFICATE, _NEXT_KEY = "next.crt", "next.key"
_FORMER_CERTIFICATE, _FORMER_KEY = "former.crt", "former.key"
_TRUSTED: Final = "ca.crt"
"""All that are trusted, for those who ask daemons by themselves, as of metrics."""
_SINCE: Final = "since"
_FIELDS: Final = (
    _CERTIFICATE, _KEY, _NEXT_CERTIFICATE, _NEXT_KEY, _FORMER_CERTIFICATE, _FORMER_KEY, _TRUSTED,
    _SINCE,
)  # fmt: skip


@dataclass(frozen=True)
class Ca:
    """A certificate, PEM, and its private key."""

    certificate: bytes
    key: bytes

    @property
    def ends(self) -> float:
        """By the wall clock. Raises PermanentError where it is no certificate of a CA."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(cadata=self.certificate.decode())
            return ssl.cert_time_to_seconds(str(context.get_ca_certs()[0]["notAfter"]))
        except (ssl.SSLError, ValueError, IndexError) as err:
            raise PermanentError(
                f"Secret {SYSTEM_NAMESPACE}/{CA_SECRET} has no CA in {_CERTIFICATE}: {err}."
            ) from err


@dataclass(frozen=True)
class Shared:
    """What the Secret has. Of ``next`` and ``former`` one at most is there."""

    current: Ca
    next: Ca | None = None
    former: Ca | None = None
    since: float = 0.0
    """Of the step that was taken last, by the wall clock."""
    asked: bool = False
    """Whether an administrator wants another one."""

    @property
    def bundle(self) -> bytes:
        """All that are trusted; who signs is the first."""
        found = (self.current, self.next, self.former)
        return b"".join(one.certificate.strip() + b"\n" for one in found if one is not None)

    @property
    def other_keys(self) -> tuple[bytes, ...]:
        return tuple(one.key for one in (self.next, self.former) if one is not None)

    def wants_another(self, now: float, remaining: float) -> bool:
        """Whether a next CA is to be there: the one that signs has less than ``remaining`` seconds, or is asked
        to go."""
        return self.next is None and self.former is None and (self.asked or self.current.ends - now < remaining)

    def announced(self, ca: Ca, now: float) -> Shared:
        return replace(self, next=ca, since=now, asked=False)

    def stepped(self, now: float, overlap: float) -> Shared | None:
        """After the step that is due once all had ``overlap`` seconds to see the last one; None where none is."""
        if now - self.since < overlap:
            return None
        if self.next is not None:
            return Shared(self.next, former=self.current, since=now, asked=self.asked)
        if self.former is not None:
            return Shared(self.current, since=now, asked=self.asked)
        return None


def read(secret: Object) -> Shared:
    """Raises PermanentError where the Secret has no CA, or half of one."""
    data: Object = secret.get("data") or {}
    try:
        found = {name: base64.b64decode(data[name], validate=True) for name in _FIELDS if name in data}
        current = Ca(found[_CERTIFICATE], found[_KEY])
        since = float(found.get(_SINCE) or 0)
    except (KeyError, TypeError, ValueError, binascii.Error) as err:
        raise PermanentError(
            f"Secret {SYSTEM_NAMESPACE}/{CA_SECRET} lacks {_CERTIFICATE} or {_KEY}; delete it to have one made."
        ) from err
    return Shared(
        current,
        next=_pair(found, _NEXT_CERTIFICATE, _NEXT_KEY),
        former=_pair(found, _FORMER_CERTIFICATE, _FORMER_KEY),
        since=since,
        asked=RENEW in (secret["metadata"].get("annotations") or {}),
    )


def written(shared: Shared, secret: Object) -> Object:
    """The Secret that says so; what else is in it stays."""
    pairs = (
        (_CERTIFICATE, _KEY, shared.current),
        (_NEXT_CERTIFICATE, _NEXT_KEY, shared.next),
        (_FORMER_CERTIFICATE, _FORMER_KEY, shared.former),
    )
    data: Object = {name: value for name, value in (secret.get("data") or {}).items() if name not in _FIELDS}
    for certificate, key, ca in pairs:
        if ca is not None:
            data |= {certificate: _text(ca.certificate), key: _text(ca.key)}
    data[_TRUSTED] = _text(shared.bundle)
    if shared.since:
        data[_SINCE] = _text(str(int(shared.since)).encode())
    annotations = {
        key: value
        for key, value in (secret["metadata"].get("annotations") or {}).items()
        if key != RENEW or shared.asked
    }
    return {**secret, "metadata": {**secret["metadata"], "annotations": annotations}, "data": data}


def says_whom_to_trust(secret: Object, shared: Shared) -> bool:
    """Whether it has all that are trusted, which a Secret of a version before has not."""
    return bool((secret.get("data") or {}).get(_TRUSTED) == _text(shared.bundle))


def _pair(found: dict[str, bytes], certificate: str, key: str) -> Ca | None:
    return Ca(found[certificate], found[key]) if certificate in found and key in found else None


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()
