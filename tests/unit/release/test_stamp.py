"""The version of a release is written where it stands, and nowhere else has to be thought of."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from release import stamp
from release.notes import notes
from release.stamp import Release, ReleaseError

from support.kube import ROOT

RELEASE = Release("0.2.0rc1", "c0ffee", 1_700_000_000, "registry.example/outbox-operator")
PUBLIC = Release(
    "0.2.0", "c0ffee", 1_700_000_000, "outbox-operator", "https://forge.example/outbox"
)
DIGEST = "sha256:" + "a" * 64
BAD_REPOSITORIES = (
    *("", "registry.example/Outbox", "https://registry.example/outbox", "registry.example/outbox/"),
    *("registry.example/outbox:0.2.0", f"registry.example/outbox@{DIGEST}", "a//b", "a/b c"),
    *("a/b\n", "a/b #", "../a", "a/\\1", "registry.example:http/outbox"),
)
BAD_SOURCES = (
    *("forge.example/outbox", "git@forge.example:outbox.git", "javascript:alert(1)", "https://"),
    *('https://forge.example/"', "https://forge.example/a b", "https://forge.example/\\1"),
    *("https://forge.example/(x)", "https://user:password@forge.example/x", "https://a.example\n"),
)


def stamped(name: str, release: Release) -> str:
    """A file of the repository as a release has it."""
    return stamp.CHANGES[name]((ROOT / name).read_text(), release)


def test_package_and_lock_file() -> None:
    project = tomllib.loads(stamped("pyproject.toml", RELEASE))["project"]
    assert project["version"] == "0.2.0rc1"
    assert "urls" not in project
    [own] = [
        one
        for one in tomllib.loads(stamped("uv.lock", RELEASE))["package"]
        if one["name"] == "outbox-operator"
    ]
    assert own["version"] == "0.2.0rc1"


def test_an_index_shows_where_the_project_is() -> None:
    urls = tomllib.loads(stamped("pyproject.toml", PUBLIC))["project"]["urls"]
    assert urls["Homepage"] == "https://forge.example/outbox"
    assert all(url.startswith("https://forge.example/outbox") for url in urls.values())


def test_chart_has_versions_that_helm_takes_and_the_image_by_digest() -> None:
    chart = yaml.safe_load(stamped("charts/outbox-operator/Chart.yaml", RELEASE))
    assert (chart["version"], chart["appVersion"]) == ("0.2.0-rc.1", "0.2.0rc1")
    assert "home" not in chart
    public = yaml.safe_load(stamped("charts/outbox-operator/Chart.yaml", PUBLIC))
    assert (public["version"], public["home"]) == ("0.2.0", "https://forge.example/outbox")
    text = (ROOT / "charts/outbox-operator/values.yaml").read_text()
    image = yaml.safe_load(stamp.values(text, RELEASE, DIGEST))["image"]
    assert (image["repository"], image["digest"]) == (RELEASE.repository, DIGEST)


def test_every_resource_definition_says_which_release_it_is_of() -> None:
    files = sorted(path.name for path in (ROOT / "crds").glob("*.yaml"))
    assert [name for name in stamp.CHANGES if name.startswith("crds/")] == [
        f"crds/{name}" for name in files
    ]
    for name in files:
        plain = yaml.safe_load((ROOT / "crds" / name).read_text())
        marked = yaml.safe_load(stamped(f"crds/{name}", RELEASE))
        assert marked["metadata"].pop("annotations") == {"outbox.dev/version": "0.2.0rc1"}
        assert marked == plain


def test_readme_of_an_index_has_no_link_that_leads_nowhere() -> None:
    text = "[a](docs/a.md) [b](https://b.example) [c](#here) ![d](d.svg)"
    assert stamp.readme(text, RELEASE) == "a [b](https://b.example) [c](#here) "
    assert "[a](https://forge.example/outbox/blob/v0.2.0/docs/a.md)" in stamp.readme(text, PUBLIC)
    assert "![d](https://forge.example/outbox/raw/v0.2.0/d.svg)" in stamp.readme(text, PUBLIC)
    assert "](docs/" not in stamped("README.md", RELEASE)


def test_readme_of_an_index_installs_the_chart_of_its_release() -> None:
    text = stamped("README.md", RELEASE)
    assert "oci://REGISTRY/charts/outbox-operator --version 0.2.0-rc.1 " in text
    assert "VERSION" not in text.replace("`REGISTRY`, `VERSION`", "")


def test_readme_of_a_release_needs_no_checkout_to_try_and_to_install_it() -> None:
    text = stamped("README.md", RELEASE)
    for extra in ("dev", "cli"):
        assert f"pip install 'outbox-operator[{extra}]==0.2.0rc1'" in text
    assert "outbox dev -f pipeline.yaml" in text
    assert "kubectl apply -f pipeline.yaml" in text
    assert "'.[" not in text
    assert "examples/" not in text


def test_notes_of_a_release_link_to_its_sources() -> None:
    found = stamp.links(notes((ROOT / "CHANGELOG.md").read_text(), "0.2.0"), PUBLIC)
    assert f"]({PUBLIC.source}/blob/v0.2.0/docs/how-to/" in found
    assert "](docs/" not in found


def test_what_pages_build_of_a_checkout_is_tagged_as_its_chart_wants_it() -> None:
    chart = yaml.safe_load((ROOT / "charts/outbox-operator/Chart.yaml").read_text())
    pages = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]
    found = {
        version
        for page in pages
        for version in re.findall(r"outbox-operator:(\d+\.\d+\.\d+)", page.read_text())
    }
    assert found == {chart["appVersion"]}


@pytest.mark.parametrize("version", ["1.0.0", "0.2.0rc1", "10.20.30b2"])
def test_versions(version: str) -> None:
    assert stamp.check_version(version) == version


@pytest.mark.parametrize(
    "version",
    [
        *("", "v1.0.0", "1.0", "1.0.0-rc1", "1.0.0.dev1", "latest", "1.0.0-rc.1", "../x"),
        *("1.0.0 x", "1.0.0\n", "01.2.3", "1.2.3rc01", "\u0661.\u0662.\u0663"),
    ],
)
def test_what_is_no_version(version: str) -> None:
    with pytest.raises(ReleaseError, match=r"VERSION: wanted such as 0\.2\.0"):
        stamp.check_version(version)


@pytest.mark.parametrize(
    ("repository", "source"),
    [
        ("outbox-operator", ""),
        ("localhost:5000/outbox-operator", "https://forge.example/a/outbox_operator"),
        ("Registry.example:443/a/b__c/outbox-operator", "http://forge.example:8080/~a/b"),
    ],
)
def test_places(repository: str, source: str) -> None:
    stamp.check_places(repository, source)


@pytest.mark.parametrize(
    ("repository", "source", "wanted"),
    [
        *((one, "", "REPOSITORY: wanted the image's name without tag") for one in BAD_REPOSITORIES),
        *(("r", one, "SOURCE: wanted such as https://forge") for one in BAD_SOURCES),
    ],
)
def test_what_is_no_place(repository: str, source: str, wanted: str) -> None:
    with pytest.raises(ReleaseError, match=wanted):
        stamp.check_places(repository, source)


def test_what_is_not_where_it_was_is_said() -> None:
    with pytest.raises(ReleaseError, match="wanted once, found 0 times"):
        stamp.chart("name: outbox-operator\n", RELEASE)


def test_a_version_whose_tag_is_another_commits_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stamp, "ROOT", tmp_path)

    def git(*words: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, timeout=60)

    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message=one")
    git("tag", "v0.1.0")
    git("tag", "--annotate", "--message=x", "v0.1.1")
    found = [stamp.read(version, "r", "", False).version for version in ("0.1.0", "0.1.1", "0.2.0")]
    assert found == ["0.1.0", "0.1.1", "0.2.0"]
    git("commit", "--quiet", "--allow-empty", "--message=two")
    for version in ("0.1.0", "0.1.1"):
        with pytest.raises(ReleaseError, match=f"the tag v{version} is that of another commit"):
            stamp.read(version, "r", "", False)
