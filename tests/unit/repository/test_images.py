"""Images of registries: by digest where we build on them, by a tag only for a reason."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from generate import base_images

from support.kube import ROOT
from support.repository import tracked

_DEFAULT: Final = "the client of a throwaway pod: `--image` names another, and its digest"
_DEMO: Final = "a server of the demo where Docker runs: nothing of it is shipped"
_EXAMPLE: Final = "an example: what a reader deploys is the reader's to pin"
BY_TAG: Final = {
    "docker.io/library/postgres:17": _DEFAULT,
    "docker.io/natsio/nats-box:0.18.0": _DEFAULT,
    "docker.io/library/nats:2": _DEMO,
    "docker.io/library/redis:7": _DEMO,
    "docker.io/prom/prometheus:v3.5.0": _DEMO,
    "node:22-slim": _EXAMPLE,
    "postgres:17": _EXAMPLE,
    "nats:2.14": _EXAMPLE,
    "redis:7": _EXAMPLE,
    "prom/prometheus:v3.5.0": _EXAMPLE,
}
"""What is named by its tag alone, and why."""
_REGISTRIES: Final = (
    r"(?:docker\.io|ghcr\.io|quay\.io|gcr\.io|mcr\.microsoft\.com|registry\.k8s\.io)"
)
_NAMED: Final = (
    re.compile(rf"\b{_REGISTRIES}/[\w./-]+:[\w.-]+(?:@sha256:[0-9a-f]{{64}})?"),
    re.compile(r"^\s*(?:- )?image: ([a-z\d][\w./-]*:\S+)$", re.MULTILINE),
    re.compile(r"^FROM (?:--platform=\S+ )?([a-z\d][\w./-]*:\S+)", re.MULTILINE),
)
# Names that lead nowhere: a reader puts their own there.
_PLACEHOLDERS: Final = ("registry.example/", "forge.example/")
_DIGEST: Final = re.compile(r"@sha256:[0-9a-f]{64}")


def named() -> Iterator[tuple[Path, str]]:
    """Every image that a file of ours names, tests apart."""
    for path in tracked(":!tests", ":!uv.lock", ":!*.sum", ":!CHANGELOG.md", ":!*.svg"):
        text = (ROOT / path).read_bytes().decode(errors="replace")
        for pattern in _NAMED:
            for match in pattern.finditer(text):
                one = match[match.lastindex or 0].rstrip(".,`)")
                if not one.startswith(_PLACEHOLDERS):
                    yield path, one


def test_each_image_is_named_by_its_digest_or_for_a_reason_by_its_tag() -> None:
    found = set(named())
    loose = sorted((str(path), one) for path, one in found if not _DIGEST.search(one))
    assert [(path, one) for path, one in loose if one not in BY_TAG] == []
    assert set(BY_TAG) == {one for _, one in loose}, "a reason for what nothing names any more"


@pytest.mark.parametrize("path", base_images.NAMED_IN, ids=lambda path: path.name)
def test_what_we_build_on_is_what_is_pinned(path: Path) -> None:
    wanted = set(base_images.pinned((ROOT / base_images.PINNED).read_text()).values())
    found = {one for where, one in named() if where == path}
    assert found
    assert found <= wanted


def test_a_pin_without_a_digest_is_refused() -> None:
    with pytest.raises(ValueError, match=r"wanted FROM NAME:TAG@sha256:DIGEST"):
        base_images.pinned("# what we build on\nFROM docker.io/library/debian:12\n")


def test_a_newer_digest_is_taken_to_where_it_is_named(tmp_path: Path) -> None:
    for path in (base_images.PINNED, *base_images.NAMED_IN):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        text = (ROOT / path).read_text()
        newer = re.sub(r"@sha256:[0-9a-f]{64}", f"@sha256:{'0' * 64}", text)
        (tmp_path / path).write_text(newer if path == base_images.PINNED else text)
    for text in base_images.files(tmp_path).values():
        assert set(_DIGEST.findall(text)) == {f"@sha256:{'0' * 64}"}
