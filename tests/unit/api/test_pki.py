"""Certificates: private, whole, renewed in time, and the CA stays."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
import yaml
from cryptography import x509

from hyperd.api.certificates import pki
from hyperd.errors import PermanentError
from hyperd.settings import ApiSettings, Settings


def _settings(path: Path, host: str = "127.0.0.1") -> Settings:
    return Settings(state_dir=path, run_dir=path, api=ApiSettings(host=host))


def _names(path: Path) -> list[str]:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    value = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [*value.get_values_for_type(x509.DNSName), *map(str, value.get_values_for_type(x509.IPAddress))]


def test_certificates_are_made_once_and_only_the_owner_reads_the_keys(tmp_path: Path) -> None:
    made = pki.ensure(_settings(tmp_path))
    before = {path: path.read_bytes() for path in (tmp_path / "pki").iterdir()}
    assert pki.ensure(_settings(tmp_path)) == made
    assert {path: path.read_bytes() for path in (tmp_path / "pki").iterdir()} == before
    assert {path.stat().st_mode & 0o777 for path in before} == {0o600}
    assert {"localhost", "127.0.0.1"} <= set(_names(made.server.certificate))


def test_a_certificate_near_its_end_is_made_anew_by_the_same_ca(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = pki.ensure(_settings(tmp_path))
    ca, server = made.ca.certificate.read_bytes(), made.server.certificate.read_bytes()

    monkeypatch.setattr(pki, "_RENEW_BEFORE_SECONDS", 366 * 86_400)
    pki.ensure(_settings(tmp_path))
    assert made.ca.certificate.read_bytes() == ca
    assert made.server.certificate.read_bytes() != server


def test_a_running_server_takes_its_renewed_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _settings(tmp_path)
    made = pki.ensure(settings)
    context = pki.server_context(made)
    before = made.server.certificate.read_bytes()
    monkeypatch.setattr(pki, "_RENEW_BEFORE_SECONDS", 366 * 86_400)
    pki.renew(settings, context, 1234)
    assert made.server.certificate.read_bytes() != before
    config = yaml.safe_load(settings.kubeconfig_path.read_text())
    data = base64.b64decode(config["users"][0]["user"]["client-certificate-data"])
    assert data == made.client.certificate.read_bytes()


def test_a_new_address_makes_a_new_server_certificate(tmp_path: Path) -> None:
    pki.ensure(_settings(tmp_path))
    made = pki.ensure(_settings(tmp_path, host="192.0.2.7"))
    assert "192.0.2.7" in _names(made.server.certificate)


def test_a_pair_cut_in_the_middle_is_made_anew(tmp_path: Path) -> None:
    made = pki.ensure(_settings(tmp_path))
    made.client.key.write_bytes(made.server.key.read_bytes())
    pki.ensure(_settings(tmp_path))
    assert made.client.key.read_bytes() != made.server.key.read_bytes()


def test_a_ca_that_cannot_be_read_is_an_error_that_says_so(tmp_path: Path) -> None:
    made = pki.ensure(_settings(tmp_path))
    made.ca.certificate.write_text("nonsense")
    with pytest.raises(PermanentError, match=str(tmp_path / "pki")):
        pki.ensure(_settings(tmp_path))


def test_an_unusable_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "pki").write_text("a file")
    with pytest.raises(PermanentError, match=str(tmp_path / "pki")):
        pki.ensure(_settings(tmp_path))


def test_the_kubeconfig_holds_everything_and_only_the_owner_reads_it(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    made = pki.ensure(settings)
    pki.write_kubeconfig(settings, made, 1234)
    config = yaml.safe_load(settings.kubeconfig_path.read_text())
    assert settings.kubeconfig_path.stat().st_mode & 0o777 == 0o600
    assert config["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:1234"
    data = base64.b64decode(config["users"][0]["user"]["client-certificate-data"])
    assert data == made.client.certificate.read_bytes()
