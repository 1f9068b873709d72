"""When certificates and credentials end, read from those that openssl and nsc make."""

from __future__ import annotations

import base64
import json
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from outbox_operator.plan.doctor.certificates import (
    end_of_credentials,
    end_of_der,
    end_of_pem,
    last_end_of_pem,
)
from support.certificates import Certificates


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def test_certificates_end_when_openssl_says(certificates: Certificates) -> None:
    for name in ("ca.pem", "server.pem", "client.pem"):
        text = certificates.text(name)

        end = end_of_pem(text)

        assert end is not None
        assert abs(end - datetime.now(UTC) - timedelta(days=2)) < timedelta(minutes=5)
        assert end_of_der(ssl.PEM_cert_to_DER_cert(text)) == end


def test_of_a_bundle_the_last_counts(certificates: Certificates) -> None:
    bundle = (Path(ssl.get_default_verify_paths().openssl_cafile).read_text()
              if Path(ssl.get_default_verify_paths().openssl_cafile).exists() else "")  # fmt: skip

    assert last_end_of_pem(certificates.text("ca.pem") + bundle) is not None


@pytest.mark.parametrize(
    "text",
    ["", "no certificate", "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----",
     "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
     "-----BEGIN CERTIFICATE-----\nMIT/////\n-----END CERTIFICATE-----"],
)  # fmt: skip
def test_what_is_none_has_no_end(text: str) -> None:
    assert end_of_pem(text) is None


@pytest.mark.parametrize(
    "der",
    [b"", b"0", b"\x30\x80", b"\x30\x84\xff\xff\xff\xff", b"\x30\x03\x30\x01\xa0", b"\x00" * 99],
)
def test_nonsense_is_no_certificate(der: bytes) -> None:
    assert end_of_der(der) is None


def credentials(claims: object) -> str:
    """A `.creds` file."""
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return (
        f"-----BEGIN NATS USER JWT-----\neyJ0.{body}.c2ln\n------END NATS USER JWT------\n\n"
        "-----BEGIN USER NKEY SEED-----\nSU\n------END USER NKEY SEED------\n"
    )


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (credentials({"exp": 2_000_000_000, "name": "relay"}),
         datetime(2033, 5, 18, 3, 33, 20, tzinfo=UTC)),
        (credentials({"name": "relay"}), None),
        (credentials({"exp": 0}), None),
        (credentials({"exp": 10**30}), None),
        (credentials(["exp"]), None),
        ("", None),
        ("BEGIN NATS USER JWT", None),
    ],
)  # fmt: skip
def test_credentials_end_with_their_jwt(text: str, wanted: datetime | None) -> None:
    assert end_of_credentials(text) == wanted
