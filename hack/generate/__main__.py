"""Write every generated file of the repository, or with `--check` say which are out of date.

    uv run python hack/generate [--check]

Called by `make generate` and `make check`. Never edit a generated file by hand.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from generate import (  # noqa: E402
    chart_values,
    crd_files,
    house,
    library,
    operator_pauses,
    performance,
    reasons,
    reference,
)
from outbox_operator.api import crdgen  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


def generated_files() -> dict[Path, str]:
    """Every generated file, by its path in the repository."""
    crds = crdgen.all_crds()
    return {
        **crd_files.files(crds),
        **reference.files(crds),
        **chart_values.files(ROOT),
        **library.files(),
        **operator_pauses.files(ROOT),
        **house.files(ROOT),
        **performance.files(ROOT),
        **reasons.files(ROOT),
    }


def outdated(files: Mapping[Path, str]) -> list[Path]:
    """Paths whose content differs from what should be there."""
    return [
        path
        for path, text in files.items()
        if not (ROOT / path).is_file() or (ROOT / path).read_text() != text
    ]


def main() -> int:
    """Exit status: 0 written or up to date, 1 out of date."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing, fail on a difference")
    check = parser.parse_args().check
    files = generated_files()
    stale = outdated(files)
    for path in stale:
        if check:
            print(f"{path} is out of date; run `make generate` and commit the result")
        else:
            (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / path).write_text(files[path])
            print(f"wrote {path}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
