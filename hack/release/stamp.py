"""The version, written into a copy of the sources: nothing else of a release is written by hand.

In the repository the version stands in `pyproject.toml` and, for the chart, in `Chart.yaml`; a test
compares them. A release gets its own from the command line, here and nowhere else.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_NUMBER = "(0|[1-9][0-9]*)"
_VERSION = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}((a|b|rc){_NUMBER})?")
# As registries have it: https://github.com/opencontainers/distribution-spec, with a host before.
_PART = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
_HOST = r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?"
_REPOSITORY = re.compile(rf"({_HOST}/)?{_PART}(/{_PART})*")
_SOURCE = re.compile(r"https?://[A-Za-z0-9][A-Za-z0-9.:/_~%+-]*")
_INSTALLED = re.compile(r"(pip install )'(?:\.|outbox-operator)(\[[a-z-]+\])'")
_IMAGE = re.compile(r"!\[([^\]]*)\]\((?!https?://)([^)\s]+)\)")
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?://|#|mailto:)([^)\s]+)\)")


SMALLEST = "examples/smallest/pipeline.yaml"
"""The smallest pipeline, which is a file of each release too."""


class ReleaseError(Exception):
    """A release cannot be made; the text says what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class Release:
    """What is released.

    Attributes:
        version: as Python has it, such as `0.2.0`; `0.2.0rc1` is `0.2.0-rc.1` for Helm.
        commit: hash of the commit it is made from.
        epoch: time of that commit, in seconds since 1970: the time of all that is made.
        repository: of the image, without tag, as clusters pull it.
        source: URL of the sources, for links and labels; empty: none is named.
    """

    version: str
    commit: str
    epoch: int
    repository: str
    source: str = ""

    @property
    def chart_version(self) -> str:
        """The version as Semantic Versioning wants it: with a point, rc.10 comes after rc.9."""
        return re.sub(r"(a|b|rc)(\d+)$", r"-\1.\2", self.version)


def check_version(text: str) -> str:
    """Return a version that Python packages and charts can have.

    Raises:
        ReleaseError: it is none.
    """
    if not _VERSION.fullmatch(text):
        raise ReleaseError(f"VERSION: wanted such as 0.2.0 or 0.2.0rc1, found {text!r}")
    return text


def check_places(repository: str, source: str) -> None:
    """Look whether images can have that name, and whether links can lead there.

    Both are written into what others read: the chart, the metadata of packages, pages.

    Raises:
        ReleaseError: one cannot; before anything was made.
    """
    if not _REPOSITORY.fullmatch(repository):
        raise ReleaseError(
            f"REPOSITORY: wanted the image's name without tag, such as "
            f"registry.example/outbox-operator, found {repository!r}"
        )
    if source and not _SOURCE.fullmatch(source):
        raise ReleaseError(
            f"SOURCE: wanted such as https://forge.example/outbox-operator, found {source!r}"
        )


def read(version: str, repository: str, source: str, allow_changes: bool) -> Release:
    """What the checkout would release.

    Raises:
        ReleaseError: the version is none or another commit's, image or links can have no such
            place, or files differ from the commit.
    """
    check_version(version)
    check_places(repository, source)
    changed = _git("status", "--porcelain", "--untracked-files=no").strip()
    if changed and not allow_changes:
        raise ReleaseError(f"a release is made of a commit; these files differ from it:\n{changed}")
    commit = _git("rev-parse", "HEAD").strip()
    tagged = _git("for-each-ref", "--format=%(objectname)%(*objectname)", f"refs/tags/v{version}")
    if tagged and not tagged.strip().endswith(commit):
        raise ReleaseError(f"VERSION: the tag v{version} is that of another commit than {commit}")
    return Release(
        version=version,
        commit=commit,
        epoch=int(_git("show", "--no-patch", "--format=%ct", "HEAD").strip()),
        repository=repository,
        source=source.rstrip("/"),
    )


def export(release: Release, target: Path) -> None:
    """Write the files of the commit into a folder, with the version in them."""
    target.mkdir(parents=True)
    archive = subprocess.run(
        ["git", "archive", release.commit], cwd=ROOT, check=True, capture_output=True, timeout=120
    ).stdout
    subprocess.run(
        ["tar", "--extract", "--no-same-permissions", "--no-same-owner"],
        cwd=target, input=archive, check=True, timeout=120, umask=0o022,
    )  # fmt: skip
    for name, change in CHANGES.items():
        file = target / name
        file.write_text(change(file.read_text(), release))


def project(text: str, release: Release) -> str:
    """`pyproject.toml` with the version, and where the project is if that is known."""
    text = _once(r'^version = "[^"]*"$', f'version = "{release.version}"', text)
    if not release.source:
        return text
    urls = {
        "Homepage": release.source,
        "Documentation": f"{release.source}/blob/v{release.version}/docs/README.md",
        "Changelog": f"{release.source}/blob/v{release.version}/CHANGELOG.md",
        "Issues": f"{release.source}/issues",
    }
    lines = "".join(f'{name} = "{url}"\n' for name, url in urls.items())
    return _once(r"^\[project\.scripts\]$", f"[project.urls]\n{lines}\n[project.scripts]", text)


def lock(text: str, release: Release) -> str:
    """`uv.lock` with the version of the project itself."""
    return _once(
        r'^(name = "outbox-operator"\nversion = )"[^"]*"$', rf'\1"{release.version}"', text
    )


def chart(text: str, release: Release) -> str:
    """`Chart.yaml` with the version of chart and program, and where the sources are."""
    text = _once(r"^version: .*$", f"version: {release.chart_version}", text)
    text = _once(r"^appVersion: .*$", f"appVersion: {release.version}", text)
    if release.source:
        text += f"home: {release.source}\nsources:\n  - {release.source}\n"
    return text


def crd(text: str, release: Release) -> str:
    """A resource definition that says which release it is of; the chart's have a label for it."""
    mark = f"  annotations:\n    outbox.dev/version: {release.version}"
    return _once(r"^(  name: \S+\.outbox\.dev)$", rf"\1\n{mark}", text)


def readme(text: str, release: Release) -> str:
    """The README as a package index shows it: links lead to the sources, or are words only.

    Pictures come from the sources, or are not there.
    """
    raw = f"{release.source}/raw/v{release.version}/"
    text = _IMAGE.sub(rf"![\1]({raw}\2)" if release.source else "", text)
    text = text.replace("--version VERSION", f"--version {release.chart_version}")
    # Who reads this has no checkout, but an index and the files of the release.
    text = _INSTALLED.sub(rf"\g<1>'outbox-operator\g<2>=={release.version}'", text)
    return links(text.replace(SMALLEST, os.path.basename(SMALLEST)), release)


def links(text: str, release: Release) -> str:
    """A page that is shown elsewhere: its links lead to the sources, or are words only."""
    base = f"{release.source}/blob/v{release.version}/"
    return _LINK.sub(rf"[\1]({base}\2)" if release.source else r"\1", text)


def values(text: str, release: Release, digest: str) -> str:
    """The chart's values with the image of this release, by digest: a tag may be moved."""
    text = _once(r"^  repository: .*$", f"  repository: {release.repository}", text)
    return _once(r'^  digest: ""$', f"  digest: {digest}", text)


def _once(pattern: str, replacement: str, text: str) -> str:
    """Replace what is there once.

    Raises:
        ReleaseError: it is not there, or more often.
    """
    changed, found = re.subn(pattern, replacement, text, flags=re.MULTILINE)
    if found != 1:
        raise ReleaseError(f"{pattern}: wanted once, found {found} times")
    return changed


CHANGES: dict[str, Callable[[str, Release], str]] = {
    "pyproject.toml": project,
    "uv.lock": lock,
    "charts/outbox-operator/Chart.yaml": chart,
    "README.md": readme,
    **{
        f"crds/outbox.dev_{kind}.yaml": crd
        for kind in ("eventconsumers", "eventstreams", "outboxpipelines", "outboxtasks")
    },
}
"""What of the sources is another in a release: path -> the change."""


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60
    ).stdout
