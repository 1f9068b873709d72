"""Bills of materials, read by CycloneDX's own parser."""

from __future__ import annotations

import json
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.model.bom import Bom
from cyclonedx.model.license import LicenseExpression
from release import make, sbom
from release.packages import Package
from release.stamp import Release, ReleaseError

from support.kube import ROOT

RELEASE = Release("0.2.0", "c0ffee", 1_700_000_000, "registry.example/outbox")
WHEEL = Package("pypi", "outbox-operator", "0.2.0", "Apache-2.0")


def exported(*components: tuple[str, str]) -> str:
    """A document as `uv export` writes it."""
    found = [
        {"type": "library", "bom-ref": f"{name}-1@{version}", "name": name, "version": version}
        for name, version in components
    ]
    project = {"type": "library", "bom-ref": "project", "name": WHEEL.name, "version": "0.2.0"}
    return json.dumps(
        {
            "bomFormat": "CycloneDX",
            "specVersion": "1.5",
            "version": 1,
            "metadata": {"timestamp": "2020-01-01T00:00:00Z", "component": project},
            "components": found,
        }
    )


def licences(text: str) -> dict[str, str]:
    """Name of a component -> its licence; the first one is what the document is about."""
    bom: Any = Bom.from_json(json.loads(text))  # type: ignore[attr-defined] # made by a decorator
    found = {}
    for component in (bom.metadata.component, *bom.components):
        [one] = component.licenses
        expression = isinstance(one, LicenseExpression)
        found[component.name] = one.value if expression else one.id or one.name
    return found


def test_each_package_of_the_wheel_has_the_licence_that_it_says() -> None:
    text = sbom.of_wheel(
        RELEASE,
        exported(("one", "1"), ("two", "1"), ("words", "1"), ("silent", "1"), ("else", "2")),
        WHEEL,
        [
            Package("pypi", "one", "1", "MIT"),
            Package("pypi", "two", "1", "Apache-2.0 OR BSD-3-Clause"),
            Package("pypi", "words", "1", "BSD License"),
            Package("pypi", "silent", "1"),
            Package("pypi", "else", "1", "MIT"),
        ],
    )
    assert licences(text) == {
        "outbox-operator": "Apache-2.0",
        "one": "MIT",
        "two": "Apache-2.0 OR BSD-3-Clause",
        "words": "BSD License",
        "silent": "NOASSERTION",
        "else": "NOASSERTION",
    }


def test_the_same_packages_always_give_the_same_document() -> None:
    texts = {sbom.of_wheel(RELEASE, exported(("one", "1")), WHEEL, []) for _ in range(2)}
    [text] = texts
    assert json.loads(text)["metadata"]["timestamp"] == "2023-11-14T22:13:20Z"


def test_what_is_no_document_is_refused() -> None:
    broken = json.loads(exported(("one", "1")))
    broken["components"][0]["type"] = "thing"
    with pytest.raises(ReleaseError, match=r"outbox-operator 0\.2\.0: no CycloneDX document"):
        sbom.of_wheel(RELEASE, json.dumps(broken), WHEEL, [])


def test_each_package_of_the_image_has_one_too() -> None:
    found = [
        Package("deb", "libc6", "2.36-9", architecture="amd64"),
        Package("pypi", "one", "1", "MIT AND BSD-3-Clause"),
    ]
    text = sbom.document(RELEASE, "registry.example/outbox", f"sha256:{'a' * 64}", found)
    assert licences(text) == {
        "registry.example/outbox": "Apache-2.0",
        "libc6": "NOASSERTION",
        "one": "MIT AND BSD-3-Clause",
    }


# uv names itself in the way of CycloneDX 1.4, which 1.5 still has.
@pytest.mark.filterwarnings("ignore:`@.tools` is deprecated")
def test_the_wheel_of_this_commit(tmp_path: Path) -> None:
    wheel = tmp_path / "outbox_operator-0.1.0-py3-none-any.whl"
    metadata = "Metadata-Version: 2.4\nName: outbox-operator\nVersion: 0.1.0\n"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(
            "outbox_operator-0.1.0.dist-info/METADATA",
            f"{metadata}License-Expression: Apache-2.0\n",
        )
    found = licences(make.wheel_sbom(RELEASE, ROOT, wheel))
    assert found["outbox-operator"] == "Apache-2.0"
    assert (found["asyncpg"], found["cryptography"]) == (
        "Apache-2.0",
        "Apache-2.0 OR BSD-3-Clause",
    )
    unknown = {name for name, licence in found.items() if licence == sbom.UNKNOWN}
    assert unknown == {name for name in found if not installed(name)}


def installed(name: str) -> bool:
    """Whether a package is on this machine: not what another Python or system needs."""
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True
