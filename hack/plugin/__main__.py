"""Build the plugin: one file for each platform in an archive, and krew's manifest of them.

    uv run python hack/plugin [--platform linux/amd64 …] [--python 3.11 …] [--url https://…/v0.1.0]

Called by `make plugin`. The file holds the program with all that it imports, for several versions
of Python, of which the machine needs one.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
NAME = "outbox"
PROGRAM = "kubectl-outbox"
PLATFORMS = {
    "linux/amd64": "x86_64-manylinux_2_28",
    "linux/arm64": "aarch64-manylinux_2_28",
    "darwin/amd64": "x86_64-apple-darwin",
    "darwin/arm64": "aarch64-apple-darwin",
}
"""As krew calls them, and as uv does."""
PYTHONS = ("3.11", "3.12", "3.13")
_SECONDS = 600
UNUSED = ("kubernetes/client", "kubernetes/aio/client")
"""Of its `api` and `models`, two thirds of all there is, nobody here loads any."""
DESCRIPTION = (
    "Looks at pipelines of outbox-operator from row to dead letter, and acts on them, with the "
    "rights of whoever calls: status, lag, logs, dead letters, replays, pauses, restarts.\n"
)


def main() -> int:
    """Build what is asked for; prints the path of the manifest."""
    parser = argparse.ArgumentParser(description="build the kubectl plugin")
    parser.add_argument("--platform", action="append", choices=PLATFORMS, help="default: all")
    parser.add_argument("--python", action="append", metavar="3.X", help="default: all we support")
    parser.add_argument(
        "--url", default="https://example.invalid/outbox-operator",
        help="where the archives will be, for the manifest",
    )  # fmt: skip
    parser.add_argument("--wheel", type=Path, help="of the project; default: made of this checkout")
    parser.add_argument("--output", type=Path, default=ROOT / "build/plugin", metavar="FOLDER")
    args = parser.parse_args()
    os.umask(0o022)  # modes of files are in what is made, whoever makes it
    args.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        version, wheel, requirements = sources(folder, args.wheel)
        archives = {
            platform: archive(
                platform, args.python or PYTHONS, wheel, requirements, folder, args.output
            )
            for platform in args.platform or PLATFORMS
        }
    manifest = args.output / f"{NAME}.yaml"
    document = krew_manifest(version, archives, args.url.rstrip("/"))
    manifest.write_text(yaml.safe_dump(document, sort_keys=False, width=100))
    print(manifest)
    return 0


def sources(folder: Path, wheel: Path | None) -> tuple[str, Path, Path]:
    """Version of the project, its wheel, and what it needs with the hashes of the lock file."""
    if wheel is None:
        uv(
            "build", "--wheel", "--quiet", "--out-dir", str(folder),
            "--build-constraints", "hack/build.txt", "--require-hashes",
        )  # fmt: skip
        [wheel] = folder.glob("*.whl")
    requirements = folder / "requirements.txt"
    uv(
        "export", "--locked", "--quiet", "--no-default-groups", "--extra", "cli",
        "--no-emit-project", "--output-file", str(requirements),
    )  # fmt: skip
    return wheel.name.split("-")[1], wheel, requirements


def archive(
    platform: str,
    pythons: Sequence[str],
    wheel: Path,
    requirements: Path,
    folder: Path,
    output: Path,
) -> Path:
    """One file for a platform, in an archive with the licence."""
    place = platform.replace("/", "-")
    packages = folder / place
    for python in pythons:
        # Beside each other: compiled modules carry the version of their Python in their names.
        one = folder / f"{place}-{python}"
        uv(
            "pip", "install", "--quiet", "--target", str(one), "--python-version", python,
            "--python-platform", PLATFORMS[platform], "--only-binary", ":all:", "--require-hashes",
            "--requirements", str(requirements),
        )  # fmt: skip
        uv(
            "pip", "install", "--quiet", "--target", str(one), "--python-version", python,
            "--no-deps", str(wheel),
        )  # fmt: skip
        prune(one)
        shutil.copytree(one, packages, dirs_exist_ok=True, copy_function=_link)
    built = output / PROGRAM
    subprocess.run(
        [sys.executable, "-m", "shiv.cli", "--site-packages", packages, "--reproducible",
         "--compressed", "--python", "/usr/bin/env python3",
         "--entry-point", "outbox_operator.cli.main:main", "--output-file", built],
        check=True, timeout=_SECONDS,
    )  # fmt: skip
    path = output / f"{PROGRAM}-{place}.tar.gz"
    # The same files give the same archive: nothing in it says when it was made, or by whom.
    with (
        path.open("wb") as out,
        gzip.GzipFile(filename="", fileobj=out, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as tar,
    ):
        tar.add(built, PROGRAM, filter=_anonymous)
        tar.add(ROOT / "LICENSE", "LICENSE", filter=_anonymous)
    built.unlink()
    return path


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.mtime = entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o755 if entry.name == PROGRAM else 0o644
    return entry


def prune(packages: Path) -> None:
    """Leave out what the program never imports; requests and answers are plain dictionaries."""
    for package in UNUSED:
        for part in ("api", "models"):
            for file in (packages / package / part).glob("[!_]*.py"):
                file.unlink()


def _link(source: str, target: str) -> None:
    """Put a file beside those of other Pythons; all but compiled modules are the same."""
    if not os.path.exists(target):
        os.link(source, target)


def krew_manifest(version: str, archives: dict[str, Path], url: str) -> dict[str, object]:
    """What krew installs the plugin by."""
    return {
        "apiVersion": "krew.googlecontainertools.github.com/v1alpha2",
        "kind": "Plugin",
        "metadata": {"name": NAME},
        "spec": {
            # krew wants Semantic Versioning: 0.2.0rc1 is 0.2.0-rc.1.
            "version": "v" + re.sub(r"(a|b|rc)(\d+)$", r"-\1.\2", version),
            "shortDescription": "Look at and act on transactional outboxes",
            "description": DESCRIPTION,
            "caveats": f"Needs python3 ({', '.join(PYTHONS)}) on the path.",
            "platforms": [
                {
                    "selector": {
                        "matchLabels": dict(zip(("os", "arch"), platform.split("/"), strict=True))
                    },
                    "uri": f"{url}/{path.name}",
                    "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                    "bin": PROGRAM,
                    "files": [{"from": name, "to": "."} for name in (PROGRAM, "LICENSE")],
                }
                for platform, path in archives.items()
            ],
        },
    }


def uv(*arguments: str) -> None:
    """Run uv; what it says goes to standard error."""
    subprocess.run(
        [ROOT / "hack/uv", *arguments], cwd=ROOT, check=True, stdout=sys.stderr, timeout=_SECONDS
    )


if __name__ == "__main__":
    sys.exit(main())
