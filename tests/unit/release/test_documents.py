"""What a release says of itself: notes, packages, provenance, checksums, the image's own words."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest
from release import image, provenance
from release.layout import Layout, join
from release.notes import notes
from release.packages import Package, debian_packages, python_package
from release.stamp import Release, ReleaseError

from support.kube import ROOT

RELEASE = Release(
    "0.2.0", "c0ffee", 1_700_000_000, "registry.example/outbox", "https://forge.example/o"
)
CHANGELOG = "# Changelog\n\n## [Unreleased]\n\n- new\n\n## [0.1.0] - 2026-01-01\n\n- first\n"


@pytest.mark.parametrize(
    ("version", "expected"), [("0.1.0", "- first"), ("0.2.0", "- new")], ids=["its own", "next"]
)
def test_notes_are_the_section_of_the_version(version: str, expected: str) -> None:
    assert notes(CHANGELOG, version) == f"# outbox-operator {version}\n\n{expected}\n"


def test_our_changelog_has_notes() -> None:
    assert "### Added" in notes((ROOT / "CHANGELOG.md").read_text(), "9.9.9")


def test_without_a_section_there_are_no_notes() -> None:
    with pytest.raises(ReleaseError, match=r"wanted a section \[0\.2\.0\] or \[Unreleased\]"):
        notes("# Changelog\n\n## [0.1.0]\n\n- first\n", "0.2.0")


def test_debian_packages_that_are_installed() -> None:
    status = (
        "Package: libc6\nStatus: install ok installed\nVersion: 2.36-9\nArchitecture: amd64\n"
        "Description: C\n library\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\nArchitecture: all\n"
    )
    assert list(debian_packages(status)) == [Package("deb", "libc6", "2.36-9", "", "amd64")]


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ("License-Expression: MIT\nLicense: old words\n", "MIT"),
        ("Classifier: License :: OSI Approved :: MIT License\nLicense: x\n", "MIT"),
        ("Classifier: License :: OSI Approved :: BSD License\nLicense: ISC\n", "ISC"),
        ("Classifier: License :: OSI Approved :: BSD License\nLicense: x\n", "BSD License"),
        (
            "Classifier: License :: OSI Approved :: MIT License\n"
            "Classifier: License :: OSI Approved :: BSD License\nLicense: MIT\n",
            "MIT License OR BSD License",
        ),
        ("License: Apache 2.0\n", "Apache-2.0"),
        ("License: mit\n", "MIT"),
        ("License: our own\n", "our own"),
        ("", ""),
    ],
)
def test_licence_of_a_python_package(fields: str, licence: str) -> None:
    found = python_package(f"Metadata-Version: 2.4\nName: Some_Thing\nVersion: 1.0\n{fields}\n")
    assert found == Package("pypi", "some-thing", "1.0", licence)


def test_statement_names_each_file_the_image_and_the_commit() -> None:
    text = provenance.statement(RELEASE, {"a.whl": "aa"}, "sha256:bb", {"uv": "1"})
    found = json.loads(text)
    assert found["subject"] == [
        {"name": "a.whl", "digest": {"sha256": "aa"}},
        {"name": "registry.example/outbox", "digest": {"sha256": "bb"}},
    ]
    definition = found["predicate"]["buildDefinition"]
    assert definition["resolvedDependencies"] == [
        {"digest": {"gitCommit": "c0ffee"}, "uri": "git+https://forge.example/o"}
    ]
    assert definition["externalParameters"]["VERSION"] == "0.2.0"


def test_checksums_are_those_that_sha256sum_reads(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"b")
    (tmp_path / "a").write_bytes(b"a")
    found = provenance.sums(provenance.checksums(tmp_path, ["b", "a"]))
    digests = [hashlib.sha256(name.encode()).hexdigest() for name in "ab"]
    assert found == f"{digests[0]}  a\n{digests[1]}  b\n"


def layout(folder: Path, content: bytes = b"hi") -> Layout:
    """A layout of one layer with one file."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(part: bytes) -> str:
        digest = hashlib.sha256(part).hexdigest()
        (blobs / digest).write_bytes(part)
        return f"sha256:{digest}"

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        entry = tarfile.TarInfo("./etc/motd")
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    layer = blob(gzip.compress(out.getvalue()))
    config = blob(json.dumps({"config": {"User": "65532:65532"}}).encode())
    manifest = {"config": {"digest": config}, "layers": [{"digest": layer}]}
    index = {"manifests": [{"digest": blob(json.dumps(manifest).encode())}]}
    (folder / "index.json").write_text(json.dumps(index))
    return Layout(folder)


def test_an_image_on_the_disk_is_read_and_looked_through(tmp_path: Path) -> None:
    found = layout(tmp_path)
    assert found.config == {"config": {"User": "65532:65532"}}
    assert [(path, content) for path, _, content in found.files()] == [("etc/motd", b"hi")]
    assert found.problems() == []
    [layer] = found.layers()
    layer.write_bytes(b"something else")
    assert [problem.partition(":")[0] for problem in found.problems()] == [layer.name]


def elf(number: int) -> bytes:
    """The beginning of a program for that machine."""
    return b"\x7fELF" + bytes(14) + number.to_bytes(2, "little")


def test_programs_in_an_image_say_what_they_are_for(tmp_path: Path) -> None:
    assert layout(tmp_path / "text").machines() == {}
    assert layout(tmp_path / "here", elf(62)).machines() == {"amd64": 1}
    assert layout(tmp_path / "there", elf(183)).machines() == {"arm64": 1}
    assert layout(tmp_path / "else", elf(243)).machines() == {"machine 243": 1}


def test_images_of_several_platforms_are_one_index(tmp_path: Path) -> None:
    images = {"amd64": layout(tmp_path / "a", elf(62)), "arm64": layout(tmp_path / "b", elf(183))}
    digest = join(images, tmp_path / "both")
    both = Layout(tmp_path / "both")
    assert both.digest == digest
    assert both.problems() == []
    entries = json.loads(both.blob(digest).read_text())["manifests"]
    found = {one["platform"]["architecture"]: one["digest"] for one in entries}
    assert found == {machine: one.digest for machine, one in images.items()}
    assert all(both.blob(one["digest"]).stat().st_size == one["size"] for one in entries)
    assert all(both.blob(f"sha256:{one.name}").exists() for one in images["arm64"].layers())


def test_an_image_says_what_it_is_and_where_from() -> None:
    said = image.labels(RELEASE)
    assert said["org.opencontainers.image.version"] == "0.2.0"
    assert said["org.opencontainers.image.revision"] == "c0ffee"
    assert said["org.opencontainers.image.source"] == "https://forge.example/o"
