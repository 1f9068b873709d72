"""The image store, with the real builder: what was built is there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from localkube.buildah import Store
from localkube.errors import LocalkubeError

DOCKERFILE = "FROM scratch\nCOPY code /code\nENV READY=yes\n"
IMAGE = "shop:dev-1"


def checkout(folder: Path, mode: int) -> Path:
    """The same code; whoever checks it out decides who may read it, and so the image's content."""
    folder.mkdir()
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "code").write_text("print('shop')\n")
    (folder / "code").chmod(mode)
    return folder


def test_a_name_that_comes_back_from_the_cache_stays(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    ours, theirs = checkout(tmp_path / "ours", 0o644), checkout(tmp_path / "theirs", 0o600)
    built = []
    for context in (ours, theirs, ours):
        store.build(IMAGE, context / "Dockerfile", context, {})
        built.append(store.identity(IMAGE))
    assert None not in built
    assert built[0] == built[2] != built[1]


def test_only_the_newest_unnamed_end_of_a_stage_is_kept(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    for number, mode in enumerate((0o644, 0o600, 0o640, 0o604)):
        context = checkout(tmp_path / str(number), mode)
        store.build(IMAGE, context / "Dockerfile", context, {})
    assert len(store._unnamed()) == 1


def test_what_a_build_that_was_cut_off_left_is_in_nobodys_way(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    context = checkout(tmp_path / "ours", 0o644)
    store.build(IMAGE, context / "Dockerfile", context, {})
    container = store._answer("from", "--name", "unfinished", f"docker.io/library/{IMAGE}")
    store._answer("mount", container.strip())
    with pytest.raises(LocalkubeError, match="in use"):
        store.remove(IMAGE)
    store.forget_unfinished()
    store.remove(IMAGE)
    assert not store.exists(IMAGE)


def test_a_store_that_cannot_be_asked_is_not_an_empty_one(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert Store(cache).identity("nobody:dev") is None
    shutil.rmtree(cache / "images" / "store")
    (cache / "images" / "store").touch()
    with pytest.raises(LocalkubeError, match="buildah inspect"):
        Store(cache).identity("nobody:dev")
