"""From what, by what and when a release was made: an in-toto statement with SLSA's predicate.

It says what whoever ran `make release` says. Whether to believe it is decided by who signed it.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from release.stamp import Release

# SLSA wants a URI: this one is a name (RFC 4151), and leads nowhere.
_TYPES = "tag:outbox.dev,2026"


def checksums(folder: Path, names: list[str]) -> dict[str, str]:
    """SHA-256 of files, by name."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


def sums(found: Mapping[str, str]) -> str:
    """Lines that `sha256sum --check` reads."""
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(found.items()))


def read_sums(text: str) -> dict[str, str]:
    """SHA-256 of files, by name, of such lines."""
    lines = (line.partition("  ") for line in text.splitlines())
    return {name: value for value, _, name in lines}


def statement(
    release: Release, files: Mapping[str, str], image: str, tools: Mapping[str, str]
) -> str:
    """The statement.

    Args:
        release: what is released.
        files: SHA-256 of each file, by name.
        image: digest of the image.
        tools: version of each program that took part, by name.
    """
    moment = datetime.fromtimestamp(release.epoch, UTC).isoformat().replace("+00:00", "Z")
    subjects = [
        {"name": name, "digest": {"sha256": value}} for name, value in sorted(files.items())
    ]
    subjects.append(
        {"name": release.repository, "digest": {"sha256": image.removeprefix("sha256:")}}
    )
    source = {"digest": {"gitCommit": release.commit}}
    if release.source:
        source["uri"] = f"git+{release.source}"  # type: ignore[assignment]
    predicate = {
        "buildDefinition": {
            "buildType": f"{_TYPES}:make-release",
            "externalParameters": {
                "VERSION": release.version,
                "REPOSITORY": release.repository,
                "SOURCE": release.source,
            },
            "internalParameters": {"SOURCE_DATE_EPOCH": release.epoch, "commitTime": moment},
            "resolvedDependencies": [source],
        },
        "runDetails": {
            "builder": {
                "id": f"{_TYPES}:machine-of-whoever-signs",
                "version": {"python": platform.python_version(), **tools},
            },
        },
    }
    document = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects,
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": predicate,
    }
    return json.dumps(document, indent=1) + "\n"
