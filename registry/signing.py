"""The keys behind ``tokens``: a root that is kept, and keys that it vouches for.

Imported by who runs a registry alone: the library takes a tenth of the daemon's memory.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from hyperd import clock, durable
from hyperd.jsontypes import Json, JsonObject

_log = logging.getLogger(__name__)

_ROOT: Final = "root.pem"
_ROOT_SECONDS: Final = 365 * 86_400
"""At that age a root is changed when its registry starts."""
_KEY_SECONDS: Final = 86_400.0
_TOKEN: Final = re.compile(r"([\w-]{1,4096})\.([\w-]{1,16384})\.([\w-]{86})", re.ASCII)
_DAY: Final = timedelta(days=1)
_HOUR: Final = timedelta(hours=1)
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(9999, 12, 31, tzinfo=UTC)
"""A root has no end: a host may start with a clock of long ago."""


@dataclass(frozen=True)
class Key:
    """A key and its certificate; ``made`` is by ``clock.elapsed``."""

    private: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    made: float

    @property
    def fresh(self) -> bool:
        """Whether it signs today. A certificate's dates are judged by the wall clock, which may have been set."""
        first, last = self.certificate.not_valid_before_utc, self.certificate.not_valid_after_utc
        return clock.elapsed() - self.made < _KEY_SECONDS and first + _HOUR < clock.now() < last - _HOUR

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.certificate.public_bytes(Encoding.DER)).hexdigest()[:16]

    @property
    def pem(self) -> bytes:
        """Its certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    def token(self, claims: JsonObject) -> str:
        """A JWT, signed by ES256, that brings the certificate."""
        der = self.certificate.public_bytes(Encoding.DER)
        header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(der).decode()]}
        signed = f"{_part(json.dumps(header).encode())}.{_part(json.dumps(claims).encode())}"
        r, s = utils.decode_dss_signature(self.private.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_part(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def kept_root(folder: Path) -> Key | None:
    """The folder's root; None where there is none, or what is there is no key. Raises OSError."""
    try:
        content = (folder / _ROOT).read_bytes()
        key, certificate = load_pem_private_key(content, None), x509.load_pem_x509_certificate(content)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        _log.warning("%s holds no key of ours", folder / _ROOT)
        return None
    return Key(key, certificate, clock.elapsed()) if isinstance(key, ec.EllipticCurvePrivateKey) else None


def is_old(folder: Path) -> bool:
    """Whether it is time for another root than ``kept_root``. Raises OSError."""
    return clock.wall() - (folder / _ROOT).stat().st_mtime > _ROOT_SECONDS


def make_root(folder: Path) -> Key:
    """Another one, in the place of what is there. Raises OSError."""
    made = _make("hyperd registry", None)
    private = made.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    durable.write(folder / _ROOT, private + made.pem)
    return made


def key_of(root: Key) -> Key:
    """A new one, for a day."""
    return _make("hyperd registry tokens", root)


def claims_of(token: str, root: Key) -> JsonObject | None:
    """What ``token`` says, where a key signed it that ``root`` vouches for now; None of any other text."""
    parts = _TOKEN.fullmatch(token)
    if parts is None:
        return None
    try:
        key = _vouched(json.loads(_bytes(parts[1])), root)
        if key is None:
            return None
        signature = _bytes(parts[3])
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        signed = f"{parts[1]}.{parts[2]}".encode()
        key.verify(utils.encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
        claims: Json = json.loads(_bytes(parts[2]))
    except (ValueError, TypeError, RecursionError, InvalidSignature, UnsupportedAlgorithm):
        return None
    return claims if isinstance(claims, dict) else None


def _vouched(header: Json, root: Key) -> ec.EllipticCurvePublicKey | None:
    """The key of a token's ``header``. Raises what ``claims_of`` catches."""
    match header:
        case {"alg": "ES256", "x5c": [str(packed)]}:
            certificate = x509.load_der_x509_certificate(base64.b64decode(packed, validate=True))
        case _:
            return None
    certificate.verify_directly_issued_by(root.certificate)
    if not certificate.not_valid_before_utc <= clock.now() <= certificate.not_valid_after_utc:
        return None
    key = certificate.public_key()
    return key if isinstance(key, ec.EllipticCurvePublicKey) else None


def _make(name: str, root: Key | None) -> Key:
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = clock.now()
    first, last = (_FIRST, _LAST) if root is None else (now - _DAY, now + 2 * _DAY)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(root.certificate.subject if root else subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(first)
        .not_valid_after(last)
        .add_extension(x509.BasicConstraints(ca=root is None, path_length=None), critical=True)
        .sign(root.private if root else private, hashes.SHA256())
    )
    return Key(private, certificate, clock.elapsed())


def _bytes(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
