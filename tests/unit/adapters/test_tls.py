"""What a connection is secured with, from texts that a tenant wrote."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from outbox_operator.adapters.tls import client_context
from support.certificates import Certificates


def test_a_bundle_may_hold_names_of_any_language(tmp_path: Path) -> None:
    """As the bundles of Mozilla and of distributions do; and a mark of the byte order."""
    ca = Certificates(tmp_path).text("ca.pem")
    context = client_context(ca_pem=f"\ufeff# NetLock Arany Főtanúsítvány\n{ca}\n# Ende\n{ca}")
    assert len(context.get_ca_certs()) == 1


@pytest.mark.parametrize("ca", ["", " \n", "é", "junk", "ünder"])
def test_what_is_no_authority_is_refused(ca: str) -> None:
    """Nothing is no authority either: the system's would be trusted in its place."""
    with pytest.raises((ssl.SSLError, ValueError)):
        client_context(ca_pem=ca)


@pytest.mark.parametrize("kind", ["", "RSA ", "ENCRYPTED "])
def test_a_key_that_takes_long_to_sign_with_is_refused(kind: str) -> None:
    """RSA with 16384 bits has 12.6 kB, and holds up whatever else the process does."""
    junk = f"-----BEGIN {kind}PRIVATE KEY-----\n{'A' * 12_600}\n-----END {kind}PRIVATE KEY-----"
    for cert, key in (("", junk), (f"{junk}\n", "-----BEGIN PRIVATE KEY-----")):
        with pytest.raises(ValueError, match="the private key is over 8192 bytes"):
            client_context(cert_pem=cert, key_pem=key)
