"""The operator's pauses in docs/reference/settings.md: a table line per setting, from the code."""

from __future__ import annotations

from pathlib import Path

from outbox_operator.controller.settings import pauses, variable

PAGE = Path("docs/reference/settings.md")
START = "<!-- Generated from controller/settings.py by `make generate`. Do not edit. -->\n"
END = "<!-- End of the generated part. -->\n"


def files(root: Path) -> dict[Path, str]:
    """Path to text of the page, the rest of it as it is."""
    before, _, rest = (root / PAGE).read_text().partition(START)
    after = rest.partition(END)[2]
    rows = [
        f"| `{variable(one)}` | `{one.default:g}` | {one.metadata['meaning']} |" for one in pauses()
    ]
    table = "\n".join(["| Variable | Default | Seconds |", "|---|---|---|", *rows]) + "\n"
    return {PAGE: f"{before}{START}{table}{END}{after}"}
