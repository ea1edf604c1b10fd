"""Makes the daemon's certificates: ``python -m hyperd.api.certificates.signing FOLDER INSTANCE …``.

A program of its own, run when certificates are missing or end soon: the library that signs them takes a tenth of
the daemon's memory and is needed once a year. The CA is made once, so that printed kubeconfigs keep working; the
server's and the client's certificates are made anew each time.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hyperd import clock, durable

_CA_DAYS = 3650
_LEAF_DAYS = 365
_CURVE = ec.SECP256R1()

Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class _Issuer:
    certificate: x509.Certificate
    key: Key


@dataclass(frozen=True)
class _Leaf:
    common_name: str
    organization: str = ""
    names: tuple[str, ...] = ()
    """Host names and addresses; none makes a client certificate."""


def make(
    folder: Path,
    *,
    instance: str,
    client: str,
    group: str,
    names: tuple[str, ...],
    leaf_days: float = _LEAF_DAYS,
    ca_days: float = _CA_DAYS,
) -> None:
    """Write ``ca`` unless it is there, ``server`` for ``names``, and ``client`` of ``group``, each .key and .crt.

    Raises OSError, and ValueError when the CA there cannot be read.
    """
    if not all((folder / f"ca.{suffix}").exists() for suffix in ("crt", "key")):
        _make_ca(folder, instance, ca_days)
    issuer = _load_ca(folder)
    _make_leaf(folder, "server", issuer, _Leaf("hyperd", names=names), leaf_days)
    _make_leaf(folder, client, issuer, _Leaf(client, organization=group), leaf_days)


def _make_ca(folder: Path, instance: str, days: float) -> None:
    key = ec.generate_private_key(_CURVE)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{instance} CA")])
    builder = (
        _builder(name, key, days)
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    _save(folder, "ca", builder.sign(key, hashes.SHA256()), key)


def _load_ca(folder: Path) -> _Issuer:
    # The first of a bundle: who signs comes before those that are trusted besides.
    certificate = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{folder / 'ca.key'} is not an elliptic-curve key")
    return _Issuer(certificate, key)


def _make_leaf(folder: Path, file: str, issuer: _Issuer, leaf: _Leaf, days: float = _LEAF_DAYS) -> None:
    key = ec.generate_private_key(_CURVE)
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, leaf.common_name)]
    if leaf.organization:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, leaf.organization))
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if leaf.names else ExtendedKeyUsageOID.CLIENT_AUTH
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
    builder = (
        _builder(x509.Name(attributes), key, days)
        .issuer_name(issuer.certificate.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(issuer_id, critical=False)
    )
    if leaf.names:
        alternatives = x509.SubjectAlternativeName([_alternative(name) for name in leaf.names])
        builder = builder.add_extension(alternatives, critical=False)
    _save(folder, file, builder.sign(issuer.key, hashes.SHA256()), key)


def _builder(subject: x509.Name, key: Key, days: float) -> x509.CertificateBuilder:
    now = clock.now()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
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


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _save(folder: Path, name: str, certificate: x509.Certificate, key: Key) -> None:
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    # The key first: a crash between the two leaves a pair that does not match, which is made anew.
    durable.write(folder / f"{name}.key", private)
    durable.write(folder / f"{name}.crt", certificate.public_bytes(encoding))


def main() -> int:
    """Exit status 1 and a sentence on stderr when it cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m hyperd.api.certificates.signing", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("instance", help="names the CA")
    parser.add_argument("client", help="common name of the client's certificate, and name of its files")
    parser.add_argument("group", help="the client's; may be empty")
    parser.add_argument("names", nargs="+", help="the server's host names and addresses")
    parser.add_argument("--leaf-days", type=float, default=_LEAF_DAYS, help="how long a certificate lasts")
    parser.add_argument("--ca-days", type=float, default=_CA_DAYS, help="how long the CA lasts")
    args = parser.parse_args()
    try:
        make(
            args.folder,
            instance=args.instance,
            client=args.client,
            group=args.group,
            names=tuple(args.names),
            leaf_days=args.leaf_days,
            ca_days=args.ca_days,
        )
    except (OSError, ValueError) as err:
        sys.stderr.write(f"{err}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
