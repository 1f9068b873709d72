"""Bills of materials, as CycloneDX: what the layers of an image bring, and what the wheel needs."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from release.image import NAME
from release.layout import Layout
from release.packages import DPKG_STATUS, METADATA, Package, debian_packages, python_package
from release.stamp import Release, ReleaseError

UNKNOWN = "NOASSERTION"
"""What is said of the licence of a package that says none, in SPDX's word."""


def packages(layout: Layout) -> list[Package]:
    """Every package of an image."""
    found: set[Package] = set()
    for path, _, content in layout.files():
        if path == DPKG_STATUS:
            found |= set(debian_packages(content.decode()))
        elif path.endswith(METADATA):
            found.add(python_package(content.decode()))
    return sorted(found)


def document(release: Release, subject: str, digest: str, found: Iterable[Package]) -> str:
    """A CycloneDX document of these packages; the same ones always give the same text.

    Args:
        release: what is released.
        subject: name of what they are in.
        digest: of that, which names the document too.
        found: the packages.

    Raises:
        ReleaseError: it is none by CycloneDX's own schema.
    """
    licences = LicenseFactory()
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_URL, digest))
    bom.metadata.timestamp = datetime.fromtimestamp(release.epoch, UTC)
    bom.metadata.component = Component(
        name=subject,
        version=release.version,
        type=ComponentType.CONTAINER,
        bom_ref=digest,
        licenses=[licences.make_from_string("Apache-2.0")],
        purl=PackageURL("oci", None, NAME, digest),
    )
    for one in found:
        deb = one.kind == "deb"
        qualifiers = {"arch": one.architecture, "distro": "debian-12"} if deb else None
        purl = PackageURL(one.kind, "debian" if deb else None, one.name, one.version, qualifiers)
        bom.components.add(
            Component(
                name=one.name,
                version=one.version,
                type=ComponentType.LIBRARY,
                bom_ref=purl.to_string(),
                purl=purl,
                licenses=[licences.make_from_string(one.licence or UNKNOWN)],
            )
        )
    bom.register_dependency(bom.metadata.component, bom.components)
    text: str = JsonV1Dot6(bom).output_as_string(indent=1)
    _check(text, SchemaVersion.V1_6, subject)
    return text + "\n"


def of_wheel(release: Release, exported: str, wheel: Package, known: Iterable[Package]) -> str:
    """What the wheel needs, with licences; the same packages always give the same text.

    Args:
        release: what is released.
        exported: uv's CycloneDX document of the lock file, which knows no licences.
        wheel: what is said of the wheel itself.
        known: packages whose licences are known; of another version they count for nothing.

    Raises:
        ReleaseError: it is none by CycloneDX's own schema.
    """
    document = json.loads(exported)
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, release.commit)}"
    moment = datetime.fromtimestamp(release.epoch, UTC).isoformat()
    document["metadata"]["timestamp"] = moment.replace("+00:00", "Z")
    licences = {(one.name, one.version): one.licence for one in (*known, wheel)}
    for component in (document["metadata"]["component"], *document["components"]):
        name = (component["name"], component["version"])
        component["licenses"] = [_licence(licences.get(name) or UNKNOWN)]
    # To look at the address of every file of every package takes minutes. uv wrote those; licences
    # are ours.
    looked_at = [{**one, "externalReferences": []} for one in document["components"]]
    subject = f"{wheel.name} {wheel.version}"
    _check(json.dumps({**document, "components": looked_at}), SchemaVersion.V1_5, subject)
    return json.dumps(document, indent=1) + "\n"


def _licence(words: str) -> dict[str, object]:
    """A licence as CycloneDX writes it: an id of SPDX's list, an expression of those, or words."""
    found = LicenseFactory().make_from_string(words)
    if isinstance(found, LicenseExpression):
        return {"expression": found.value}
    return {"license": {"id": found.id} if found.id else {"name": found.name}}


def _check(text: str, schema: SchemaVersion, subject: str) -> None:
    """Look whether that is a document of CycloneDX, by its own schema.

    Raises:
        ReleaseError: it is none.
    """
    if error := JsonStrictValidator(schema).validate_str(text):
        raise ReleaseError(f"{subject}: no CycloneDX document: {error}")
