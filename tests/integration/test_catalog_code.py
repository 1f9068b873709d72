"""What `outbox catalog code` writes, as the compilers of its readers take it.

quicktype is that of `languages/package-lock.json`: npx takes what is installed where it runs, if
that is the version it is asked for.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from localkube import binaries

from outbox_operator.catalog.code import QUICKTYPE
from support.fences import CACHE, LANGUAGES, node_environment, node_modules
from support.kube import ROOT

pytestmark = pytest.mark.integration

OUTBOX = (sys.executable, "-m", "outbox_operator.cli.main", "catalog")
TSCONFIG = {
    "compilerOptions": {
        "strict": True, "noEmit": True, "types": [], "target": "es2022", "module": "es2022",
        "moduleResolution": "bundler",
    },
    "files": ["reader.ts"],
}  # fmt: skip
READER_TS = """
import type {{ Events, OrderCreated }} from "{file}";
export function read(text: string): string {{
  const order: Events["order.created"] = JSON.parse(text) as OrderCreated;
  const later: Events["order.created.v2"] = {{ id: 1 }};
  // @ts-expect-error: a number
  const wrong: Events["order.created.v2"] = {{ id: "1" }};
  return order.id + order.lines?.map((line) => line.sku).join() + later.id + wrong.id;
}}
"""
READER_GO = """package events

import "encoding/json"

func read(text []byte) (string, error) {
	var order OrderCreated
	if err := json.Unmarshal(text, &order); err != nil {
		return "", err
	}
	return TypeOrderCreated + order.ID + TypeOrderCreatedV2, nil
}

var _ = read
"""


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command, cwd=cwd, env={**node_environment(), **(env or {})}, capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


READER_TS_CLASHING = """
import type {{
  CacheCleared, CacheFilled, CountsPut, EventsByType, LinesPut, NotePut, OrderCreated, ShopOpened
}} from "{file}";
const order: OrderCreated = {{ events: {{ count: 1 }} }};
const cleared: EventsByType["cache.cleared"] = {{}} as CacheCleared;
const filled: EventsByType["cache.filled"] = {{}} as CacheFilled;
export const all: EventsByType["order.created"][] = [order];
const lines: LinesPut = [{{ sku: "a" }}];
const note: NotePut = "a";
const counts: EventsByType["counts.put"] = {{ a: 1 }} as CountsPut;
const opened: ShopOpened = {{ id: 1 }};
export const others = [cleared, filled, lines[0].sku, note.length, counts["a"], opened];
"""
READER_GO_CLASHING = """package events

var _ = []any{TypeOrder{Y: 1}, EventTypeOrder, EventTypeOrderCreated, TypeTypeOrder, CacheCleared{},
	LinesPut{{Sku: "a"}}, NotePut("a"), CountsPut{"a": 1}, ShopOpened{ID: 1}}
"""


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("module", "reader_ts", "reader_go"),
    [("shop", READER_TS, READER_GO), ("clashing", READER_TS_CLASHING, READER_GO_CLASHING)],
    ids=["shop", "clashing"],
)
def test_readers_compile_with_what_is_written(
    module: str, reader_ts: str, reader_go: str, tmp_path: Path
) -> None:
    locked = json.loads((LANGUAGES / "package.json").read_text())["dependencies"]["quicktype"]
    assert f"quicktype@{locked}" == QUICKTYPE
    modules = node_modules()
    catalog, typescript, go = (tmp_path / one for one in ("catalog", "typescript", "go"))
    run(
        *OUTBOX, "export", module, "--folder", catalog, cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT / "tests/unit/catalog")},
    )  # fmt: skip
    for name, file in (("typescript", typescript / "events.ts"), ("go", go / "events.go")):
        run(
            *OUTBOX, "code", name, "--folder", catalog, "--out", file,
            cwd=modules.parent, env={"npm_config_offline": "true"},
        )  # fmt: skip
    (typescript / "reader.ts").write_text(reader_ts.format(file="./events"))
    (typescript / "tsconfig.json").write_text(json.dumps(TSCONFIG))
    run(modules / ".bin/tsc", "--project", ".", cwd=typescript)
    (go / "reader.go").write_text(reader_go)
    (go / "go.mod").write_text("module events\n\ngo 1.26.0\n")
    run(
        binaries.find_go(CACHE / "localkube"), "vet", ".", cwd=go,
        env=binaries.go_environment(os.environ),
    )  # fmt: skip


# quicktype takes the name of a single file's type from elsewhere.
@pytest.mark.thorough
@pytest.mark.parametrize(
    ("module", "event_type", "name"),
    [
        ("shop", "order.created", "OrderCreated"),
        ("clashing", "cache.cleared", "CacheCleared"),
        ("clashing", "lines.put", "LinesPut"),
    ],
)
def test_a_catalog_of_one_event_has_its_type(
    module: str, event_type: str, name: str, tmp_path: Path
) -> None:
    modules = node_modules()
    catalog = tmp_path / "catalog"
    run(
        *OUTBOX, "export", module, "--folder", catalog, cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT / "tests/unit/catalog")},
    )  # fmt: skip
    one = tmp_path / "one/schemas"
    one.mkdir(parents=True)
    shutil.copy(catalog / f"schemas/{event_type}.json", one)
    run(
        *OUTBOX, "code", "typescript", "--folder", one.parent, "--out", tmp_path / "one.ts",
        cwd=modules.parent, env={"npm_config_offline": "true"},
    )  # fmt: skip
    text = (tmp_path / "one.ts").read_text()
    assert f'"{event_type}": {name};' in text
    assert f"export interface {name} " in text or f"export type {name} " in text
