"""Image names follow their content; commands of both engines are what they should be."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from localkube import archive, buildah, images, kind
from localkube.buildah import DebianBase
from localkube.layout import Roots


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository with an input folder, an input file and things that do not count."""
    (tmp_path / "src" / "__pycache__").mkdir(parents=True)
    (tmp_path / "src" / "a.py").write_text("a")
    (tmp_path / "src" / "__pycache__" / "a.pyc").write_text("compiled")
    (tmp_path / "lock").write_text("1")
    (tmp_path / "other").write_text("ignored")
    return tmp_path


def digest(tree: Path, *extra: str) -> str:
    return images.content_hash(tree, images.input_files(tree, ["src", "lock"]), extra)


def test_inputs_are_files_that_count(tree: Path) -> None:
    found = images.input_files(tree, ["src", "lock"])
    assert found == [Path("lock"), Path("src/a.py")]


def test_hash_follows_content_name_mode_and_base(tree: Path) -> None:
    seen = [digest(tree)]
    (tree / "other").write_text("changed")
    assert digest(tree) == seen[0]
    (tree / "src" / "a.py").write_text("b")
    seen.append(digest(tree))
    (tree / "src" / "a.py").chmod(0o755)
    seen.append(digest(tree))
    (tree / "src" / "a.py").rename(tree / "src" / "c.py")
    seen.append(digest(tree))
    seen.append(digest(tree, "another base"))
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize(
    "image", [*images.PROJECT_IMAGES, *images.ON_REQUEST], ids=lambda image: image.key
)
def test_names_of_project_images(image: images.ProjectImage) -> None:
    repository, _, tag = images.image_name(image).partition(":")
    assert repository == image.repository
    assert tag.startswith("dev-")
    assert len(tag) == 16


@pytest.mark.parametrize(
    ("name", "tags", "used", "expected"),
    [
        ("shop:dev-2", ["dev", "dev-1", "dev-2", "1.0"], [], ["dev-1"]),
        ("shop:1.0", ["dev-1", "0.9"], [], []),
        ("shop:dev-2", ["dev-0", "dev-1", "dev-2"], ["dev-1", "dev-2"], ["dev-0"]),
    ],
)
def test_only_earlier_contents_that_no_checkout_uses_are_replaced(
    name: str, tags: list[str], used: list[str], expected: list[str]
) -> None:
    assert images.replaced_tags(name, tags, used) == expected


def test_checkouts_that_are_gone_use_nothing(tmp_path: Path) -> None:
    places = Roots(state=tmp_path, cache=tmp_path / "cache")
    record = places.cache / images._USERS
    images._note_use(places, ["shop:dev-1", "outbox-operator:dev-3"])
    known = json.loads(record.read_text())
    record.write_text(json.dumps({**known, str(tmp_path / "gone"): {"shop": "dev-2"}}))
    images._note_use(places, ["shop:dev-4"])
    [uses] = images._users(record).values()
    assert uses == {"shop": "dev-4", "outbox-operator": "dev-3"}


def test_an_image_holds_what_everybody_may_read_whoever_checked_it_out(tmp_path: Path) -> None:
    root, copies = tmp_path / "checkout", []
    (root / "src").mkdir(parents=True)
    for name in ("program", "data"):
        (root / "src" / name).write_text(name)
    for mask, place in ((0o022, "open"), (0o077, "closed")):
        for file in (root / "src").iterdir():
            file.chmod((0o777 if file.name == "program" else 0o666) & ~mask)
        before = os.umask(mask)
        try:
            images.copy_plainly(root, images.input_files(root, ["."]), tmp_path / place)
        finally:
            os.umask(before)
        there = sorted((tmp_path / place).rglob("*"))
        copies.append({one.name: oct(one.stat().st_mode & 0o777) for one in there})
    assert copies == [{"src": "0o755", "program": "0o755", "data": "0o644"}] * 2


def test_other_packages_are_another_base() -> None:
    one = images.base_tag(DebianBase("x", ("a",)))
    assert one != images.base_tag(DebianBase("x", ("a", "b")))
    assert one != images.base_tag(DebianBase("x", ("a",), ("echo",)))


@pytest.mark.parametrize(
    ("given", "full"),
    [
        ("outbox-operator:dev", "docker.io/library/outbox-operator:dev"),
        ("me/shop:1", "docker.io/me/shop:1"),
        ("localhost/pause:1", "localhost/pause:1"),
        ("example.com/shop:1", "example.com/shop:1"),
        ("host:5000/shop", "host:5000/shop"),
    ],
)
def test_full_name(given: str, full: str) -> None:
    assert buildah.full_name(given) == full


def test_debootstrap_command() -> None:
    base = DebianBase("x", ("postgresql-15", "ca-certificates"), ("echo hi",), ("/big/*",))
    command = buildah.debootstrap_command(base, Path("/t/root.tar"))
    assert command[0] == "mmdebstrap"
    assert "--include=postgresql-15,ca-certificates" in command
    assert "--essential-hook=echo hi" in command
    assert '--customize-hook=rm -r "$1"/big/*' in command
    assert command[-2:] == [buildah.SUITE, "/t/root.tar"]


def test_a_base_that_is_passed_on_has_its_time_and_its_licences() -> None:
    base = DebianBase("x", ("python3-minimal",), epoch=7)
    command = buildah.debootstrap_command(base, Path("/t/root.tar"))
    assert command[:3] == ["env", "SOURCE_DATE_EPOCH=7", "mmdebstrap"]
    assert "--dpkgopt=path-include=/usr/share/doc/*/copyright" in command


def test_archive_is_one_image_of_one_layer(tmp_path: Path) -> None:
    target = tmp_path / "image.tar"
    archive.write(target, "localhost/x:1", {"/bin/tool": b"tool"}, ["/bin/tool", "run"])
    with tarfile.open(target) as tar:
        manifest = json.loads(_member(tar, "manifest.json"))[0]
        config = json.loads(_member(tar, manifest["Config"]))
        layer = _member(tar, manifest["Layers"][0])
    assert manifest["RepoTags"] == ["localhost/x:1"]
    assert config["config"]["Entrypoint"] == ["/bin/tool", "run"]
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        assert _member(tar, "bin/tool") == b"tool"
        assert tar.getmember("bin/tool").mode & 0o111


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    found = tar.extractfile(name)
    assert found is not None
    return found.read()


def test_with_docker_each_image_of_the_project_has_a_name_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\n")  # every image is there already
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    engine = kind.KindEngine(Roots(tmp_path / "state", tmp_path / "cache"))
    usual, asked = (
        [one.key for one in some] for some in (images.PROJECT_IMAGES, images.ON_REQUEST)
    )
    assert set(engine.build_all()) == {*usual}
    assert set(engine.build_all(asked)) == {*usual, *asked}


def test_docker_build_command() -> None:
    command = kind.build_command("a:1", Path("/f"), Path("/c"), {"BASE_IMAGE": "b"})
    wanted = ["docker", "build", "--tag=a:1", "--file=/f", "--build-arg=BASE_IMAGE=b", "/c"]
    assert command == wanted


def test_kind_loads_archives_and_names_differently(tmp_path: Path) -> None:
    tar = tmp_path / "x.tar"
    tar.touch()
    assert kind.load_command("c", str(tar)) == ["load", "image-archive", str(tar), "--name=c"]
    assert kind.load_command("c", "x:1") == ["load", "docker-image", "x:1", "--name=c"]
