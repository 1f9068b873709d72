"""What is shipped may be shipped: licences of all that the extras bring along."""

from __future__ import annotations

from importlib.metadata import distribution

from packaging.requirements import Requirement
from release.packages import METADATA, python_package

ALLOWED = frozenset(
    {
        "Apache Software License OR MIT License",
        "Apache-2.0",
        "Apache-2.0 AND BSD-2-Clause",
        "Apache-2.0 AND MIT",
        "Apache-2.0 OR BSD-3-Clause",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "ISC",
        "MIT",
        "MIT OR Apache-2.0",
        "MIT-0",
        "MPL-2.0",  # certifi: a file of certificates, as it is
        "PSF-2.0",
    }
)
"""What lets anybody use and pass on a program that comes with it, without a word about the rest."""
PROJECT = "outbox-operator"


def extras() -> set[str]:
    """Every extra of the project."""
    return set(distribution(PROJECT).metadata.get_all("Provides-Extra") or [])


def shipped(name: str, wanted: set[str], seen: dict[str, set[str]]) -> None:
    """Note a distribution and all that it needs on this machine.

    Args:
        name: of the distribution.
        wanted: extras of it.
        seen: what was noted already, with its extras; grows.
    """
    key = name.lower().replace("_", "-")
    if key in seen and wanted <= seen[key]:
        return
    seen[key] = seen.get(key, set()) | wanted
    for line in distribution(name).requires or []:
        needed = Requirement(line)
        cases = [{"extra": extra} for extra in sorted(seen[key] | {""})]
        if needed.marker is None or any(needed.marker.evaluate(case) for case in cases):
            shipped(needed.name, set(needed.extras), seen)


def test_every_licence_lets_users_use_it() -> None:
    found: dict[str, set[str]] = {}
    shipped(PROJECT, extras(), found)
    assert len(found) > 40, "the extras are installed: make setup"
    packages = [
        python_package(distribution(name).read_text(METADATA.rpartition("/")[2]) or "")
        for name in sorted(found)
    ]
    refused = {one.name: one.licence for one in packages if one.licence not in ALLOWED}
    assert refused == {}
