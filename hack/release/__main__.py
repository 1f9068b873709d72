"""Make a release: `make release VERSION=0.2.0`. Everything goes into one folder, and nowhere else.

Nothing is published here. Pushing what was made is `.github/workflows/release.yaml`, and
`make check-release` proves the same against a registry of this machine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from localkube.errors import LocalkubeError  # noqa: E402
from localkube.processes import UMASK  # noqa: E402

from release import make, signing  # noqa: E402
from release.folder import replacing  # noqa: E402
from release.stamp import ROOT, ReleaseError, read  # noqa: E402


def main() -> int:
    """Make what is asked for; prints what there is, and how large."""
    parser = argparse.ArgumentParser(prog="release", description="make all of a release")
    parser.add_argument("--version", required=True, help="such as 0.2.0 or 0.2.0rc1")
    parser.add_argument(
        "--repository", default="outbox-operator",
        help="of the image, without tag, as clusters will pull it",
    )  # fmt: skip
    parser.add_argument("--source", default="", help="URL of the sources, for links and labels")
    parser.add_argument(
        "--key", default="",
        help="cosign's private key, with COSIGN_PASSWORD; without it nothing is signed",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, default=ROOT / "build/release", metavar="FOLDER")
    parser.add_argument("--platform", action="append", help="of the plugin; default: all")
    parser.add_argument(
        "--allow-changes", action="store_true", help="of the last commit, whatever else is there"
    )
    args = parser.parse_args()
    os.umask(UMASK)  # the files are for everybody, whoever makes them
    try:
        release = read(args.version, args.repository, args.source, args.allow_changes)
        signer = signing.signer(args.key) if args.key else None
        if signer:
            signer.public()  # before all that takes minutes
        with replacing(args.output) as (made, scratch):
            make.everything(release, made, scratch, signer, args.platform or ())
    except (ReleaseError, LocalkubeError) as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"release: {error}\n{error.stderr or ''}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"release: interrupted; {args.output} is as it was", file=sys.stderr)
        return 130
    for file in sorted(args.output.iterdir()):
        print(f"{file.stat().st_size / 1e6:8.2f} MB  {file.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
