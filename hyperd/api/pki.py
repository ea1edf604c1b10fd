"""The daemon's own certificates: a CA, the server's, and one administrator's for kubectl.

Keys are 0600 and appear whole or not at all. The server's certificate is made anew before it ends, or when the
host's names change; the CA stays, so printed kubeconfigs keep working.
"""

from __future__ import annotations

import base64
import os
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hyperd.api.auth import MASTERS
from hyperd.errors import PermanentError
from hyperd.settings import Settings

_CA_DAYS = 3650
_LEAF_DAYS = 365
_RENEW_BEFORE = timedelta(days=60)
_CURVE = ec.SECP256R1()

Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key on disk."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Pki:
    """Where the certificates lie."""

    ca: Pair
    server: Pair
    admin: Pair


@dataclass(frozen=True)
class _Leaf:
    common_name: str
    organization: str = ""
    names: tuple[str, ...] = ()
    """Host names and addresses; none makes a client certificate."""


def ensure(settings: Settings) -> Pki:
    """Make what is missing or about to end. Blocking. Raises PermanentError when the folder cannot be used."""
    folder = settings.pki_dir
    pki = Pki(*(Pair(folder / f"{name}.crt", folder / f"{name}.key") for name in ("ca", "server", "admin")))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        if not (pki.ca.certificate.exists() and pki.ca.key.exists()):
            _make_ca(pki.ca, settings.instance)
        names = _server_names(settings.api.host)
        _ensure_leaf(pki.ca, pki.server, _Leaf("hyperd", names=names))
        _ensure_leaf(pki.ca, pki.admin, _Leaf("admin", organization=MASTERS))
    except (OSError, ValueError) as err:
        raise PermanentError(
            f"Certificates in {folder} cannot be read or written: {err}. Mend the folder, or remove it to have "
            "new ones made; kubeconfigs printed before then end to work."
        ) from err
    return pki


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
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [
            {
                "name": name,
                "cluster": {
                    "server": f"https://{address}:{port}",
                    "certificate-authority-data": inline(pki.ca.certificate),
                },
            }
        ],
        "users": [
            {
                "name": "admin",
                "user": {
                    "client-certificate-data": inline(pki.admin.certificate),
                    "client-key-data": inline(pki.admin.key),
                },
            }
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": "admin", "namespace": "default"}}],
    }
    settings.kubeconfig_path.parent.mkdir(parents=True, exist_ok=True)
    _write(settings.kubeconfig_path, yaml.safe_dump(config, sort_keys=False).encode())


def _is_specific(host: str) -> bool:
    try:
        return not ip_address(host).is_unspecified
    except ValueError:
        return True


def _server_names(host: str) -> tuple[str, ...]:
    names = ["localhost", "127.0.0.1", "::1", socket.gethostname(), socket.getfqdn()]
    if _is_specific(host):
        names.append(host)
    return tuple(dict.fromkeys(name for name in names if name))


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _make_ca(pair: Pair, instance: str) -> None:
    key = ec.generate_private_key(_CURVE)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{instance} CA")])
    builder = (
        _builder(name, key, _CA_DAYS)
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    _save(pair, builder.sign(key, hashes.SHA256()), key)


def _ensure_leaf(ca: Pair, pair: Pair, leaf: _Leaf) -> None:
    issuer = x509.load_pem_x509_certificate(ca.certificate.read_bytes())
    if _is_good(pair, issuer, leaf):
        return
    issuer_key = serialization.load_pem_private_key(ca.key.read_bytes(), None)
    if not isinstance(issuer_key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{ca.key} is not an elliptic-curve key")
    key = ec.generate_private_key(_CURVE)
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, leaf.common_name)]
    if leaf.organization:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, leaf.organization))
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if leaf.names else ExtendedKeyUsageOID.CLIENT_AUTH
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    builder = (
        _builder(x509.Name(attributes), key, _LEAF_DAYS)
        .issuer_name(issuer.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(issuer_id, critical=False)
    )
    if leaf.names:
        alternatives = x509.SubjectAlternativeName([_alternative(name) for name in leaf.names])
        builder = builder.add_extension(alternatives, critical=False)
    _save(pair, builder.sign(issuer_key, hashes.SHA256()), key)


def _builder(subject: x509.Name, key: Key, days: int) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=days))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _is_good(pair: Pair, issuer: x509.Certificate, leaf: _Leaf) -> bool:
    if not (pair.certificate.exists() and pair.key.exists()):
        return False
    certificate = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
    key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    if certificate.public_key() != key.public_key() or certificate.issuer != issuer.subject:
        return False
    if certificate.not_valid_after_utc - datetime.now(UTC) < _RENEW_BEFORE:
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return not leaf.names
    except (ValueError, TypeError, InvalidSignature):
        return False
    return {_alternative(name) for name in leaf.names} <= set(names)


def _save(pair: Pair, certificate: x509.Certificate, key: Key) -> None:
    encoding = serialization.Encoding.PEM
    # The key first: a crash between the two leaves a pair that does not match, which is made anew.
    _write(
        pair.key,
        key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
    _write(pair.certificate, certificate.public_bytes(encoding))


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
