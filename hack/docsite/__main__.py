"""Build the documentation as a site, into build/site/VERSION: `make docs`.

Versions that are there already stay, and each page has a selector of all of them.

The pages keep their places, so that links between them, and to examples and code, hold as they do
in the repository. The menu is `docs/README.md`. Whoever reads the site asks no other server for
anything: fonts are the reader's own, and diagrams are drawn by a copy of Mermaid.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from docsite import versions  # noqa: E402
from docsite.pages import (  # noqa: E402
    INDEX,
    as_on_the_site,
    broken,
    linked_files,
    menu,
    requests_elsewhere,
)

ROOT = Path(__file__).resolve().parents[2]
MERMAID = "mermaid@11.12.0"
CONFIG = """\
site_name: outbox-operator
docs_dir: {pages}
site_dir: {site}
use_directory_urls: false
strict: true
copyright: {copyright}
theme:
  name: material
  font: false
  features:
    [navigation.sections, navigation.indexes, navigation.top, navigation.footer, search.suggest,
     search.highlight, content.code.copy, toc.follow]
  palette:
    - {{media: "(prefers-color-scheme: light)", scheme: default, primary: indigo,
        toggle: {{icon: material/weather-night, name: Dark}}}}
    - {{media: "(prefers-color-scheme: dark)", scheme: slate, primary: indigo,
        toggle: {{icon: material/weather-sunny, name: Light}}}}
plugins: [search]
extra: {{generator: false, version: {{provider: mike, default: newest}}}}
extra_javascript: [mermaid.min.js]
extra_css: [site.css]
validation:
  nav: {{omitted_files: ignore}}
markdown_extensions:
  - admonition
  - tables
  - attr_list
  - toc: {{permalink: true, slugify: !!python/object/apply:pymdownx.slugs.slugify
      {{kwds: {{case: lower}}}}}}
  - pymdownx.highlight
  - pymdownx.superfences:
      custom_fences:
        - name: mermaid
          class: mermaid
          format: !!python/name:pymdownx.superfences.fence_code_format
nav: {nav}
"""
STYLE = """\
/* Tables of figures are wide; on a small screen they scroll by themselves. */
.md-grid { max-width: 72rem; }
.md-typeset table:not([class]) { font-size: .7rem; }
/* Names of fields are cut as seldom as leaves room for what they mean. */
@media (min-width: 60em) {
  .md-typeset table:not([class]) td:first-child:has(code) { min-width: 9rem; }
}
"""


def _version() -> str:
    """Of the checkout."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return str(project["version"])


def main() -> int:
    """Build the site; prints where it is, and what is wrong with it."""
    parser = argparse.ArgumentParser(
        prog="docsite", description="build the documentation as a site"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "build/site", metavar="FOLDER")
    parser.add_argument(
        "--version", default=_version(), help="its folder, and shown on each page: 0.2.0, main"
    )
    parser.add_argument("--source", default="", help="URL of the sources, for links to folders")
    args = parser.parse_args()
    try:
        site = args.output.absolute() / versions.check(args.version)
    except ValueError as error:
        parser.error(str(error))
    shutil.rmtree(site, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="docsite-") as scratch:
        folder = Path(scratch)
        stage(folder / "pages", args.source.rstrip("/"))
        mermaid(folder, folder / "pages" / "mermaid.min.js")
        (folder / "pages" / "site.css").write_text(STYLE)
        (folder / "mkdocs.yml").write_text(
            CONFIG.format(
                pages=json.dumps(str(folder / "pages")),
                site=json.dumps(str(site)),
                copyright=json.dumps(f"outbox-operator {args.version}, Apache-2.0"),
                nav=json.dumps(menu((ROOT / INDEX).read_text())),
            )
        )
        done = subprocess.run(
            [sys.executable, "-m", "mkdocs", "build", "--quiet", "--config-file",
             str(folder / "mkdocs.yml")],
            check=False, timeout=600,
        )  # fmt: skip
    if done.returncode:
        return done.returncode
    pages = sorted(site.rglob("*.html"))
    problems = broken(site, pages)
    for page in pages:
        problems += [
            f"{page.relative_to(site)}: asks {one}" for one in requests_elsewhere(page.read_text())
        ]
    for problem in problems:
        print(problem, file=sys.stderr)
    known = versions.write(args.output)
    print(f"{len(pages)} pages in {site}, {len(problems)} problems; versions: {', '.join(known)}")
    return 1 if problems else 0


def stage(target: Path, source: str) -> None:
    """Copy all pages, and the files that they lead to."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT, check=True, capture_output=True, text=True, timeout=60,
    ).stdout.split()  # fmt: skip
    pages = [page for page in listed if (ROOT / page).is_file()]
    others = {file for page in pages for file in linked_files(ROOT, page)} - set(pages)
    for page in pages:
        copy = target / page
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(as_on_the_site(ROOT, page, source))
    for file in others:
        copy = target / file
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / file, copy)


def mermaid(scratch: Path, target: Path) -> None:
    """What draws the diagrams, from its package."""
    subprocess.run(
        ["npm", "pack", "--silent", "--pack-destination", str(scratch), MERMAID],
        check=True, cwd=scratch, stdout=subprocess.DEVNULL, timeout=300,
    )  # fmt: skip
    [archive] = scratch.glob("mermaid-*.tgz")
    with tarfile.open(archive) as tar:
        content = tar.extractfile("package/dist/mermaid.min.js")
        assert content is not None
        target.write_bytes(content.read())


if __name__ == "__main__":
    sys.exit(main())
