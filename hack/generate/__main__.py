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

from generate import sync_client  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


def resources_and_pages() -> dict[Path, str]:
    """Every generated file made of what the package says of itself, by its path."""
    # Now and not before: they import the library, half of which is generated itself.
    from generate import (
        alerts,
        archive_api,
        base_images,
        chart_values,
        crd_files,
        dashboards,
        house,
        library,
        metrics,
        operator_pauses,
        performance,
        reference,
        scaling,
        steps,
    )
    from outbox_operator.api import crdgen

    crds = crdgen.all_crds()
    return {
        **crd_files.files(crds),
        **reference.files(crds),
        **chart_values.files(ROOT),
        **alerts.files(ROOT),
        **library.files(),
        **archive_api.files(),
        **base_images.files(ROOT),
        **metrics.files(ROOT),
        **dashboards.files(),
        **operator_pauses.files(ROOT),
        **steps.files(ROOT),
        **house.files(ROOT),
        **performance.files(ROOT),
        **scaling.files(ROOT),
    }


def update(files: Mapping[Path, str], *, check: bool) -> bool:
    """Write the files that differ from what should be there, or only name them.

    Returns:
        Whether there are any.
    """
    stale = [
        path
        for path, text in files.items()
        if not (ROOT / path).is_file() or (ROOT / path).read_text() != text
    ]
    for path in stale:
        if check:
            print(f"{path} is out of date; run `make generate` and commit the result")
        else:
            (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / path).write_text(files[path])
            print(f"wrote {path}")
    return bool(stale)


def main() -> int:
    """Exit status: 0 written or up to date, 1 out of date."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing, fail on a difference")
    check = parser.parse_args().check
    stale = update(sync_client.files(ROOT), check=check)
    if not (check and stale):
        stale = update(resources_and_pages(), check=check)
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
