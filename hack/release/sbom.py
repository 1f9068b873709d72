"""What is in the image, as CycloneDX: each Debian and Python package that a layer brings."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime

from cyclonedx.factory.license import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from release.image import NAME
from release.layout import Layout
from release.packages import DPKG_STATUS, METADATA, Package, debian_packages, python_package
from release.stamp import Release, ReleaseError


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
                licenses=[licences.make_from_string(one.licence)] if one.licence else [],
            )
        )
    bom.register_dependency(bom.metadata.component, bom.components)
    text: str = JsonV1Dot6(bom).output_as_string(indent=1)
    if error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise ReleaseError(f"{subject}: no CycloneDX document: {error}")
    return text + "\n"
