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
