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


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, cwd=cwd, env={**node_environment(), **(env or {})}, capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


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
READER_TS_ODD = """
import type {{ AB, ArrayEvent, DateEvent, EitherSet, Events, KeysTold, MoreTold }} from "{file}";
const date: DateEvent = {{ date: {{ day: "2026-01-01" }}, either: [1, "a"] }};
const ab: Events["a.b"] = {{ größe: [1], 名前: "a" }} as AB;
const array: ArrayEvent = {{ many: [1, "a"] }};
const told: Events["more.told"] = {{ id: 1, more: "a" }} as MoreTold;
const note: Events["note.set"] = null;
const either: EitherSet[] = [null, 1, "a"];
const all: Events["date"][] = [date];
const keys: KeysTold = {{ sizes: {{ "1": 1 }}, prices: {{ A: "1.5" }}, moments: {{}} }};
const item: Events["items.put"] = [{{ sku: "a", parts: [{{ sku: "b" }}], parent: null }}];
export const others = [ab, array, told, note, either, all, keys.prices["A"].length, item];
"""
READER_GO_ODD = """package events

import (
	"encoding/json"
	"testing"
	"time"
)

func read(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatal(text, err)
	}
}

func TestRead(t *testing.T) {
	var note NoteSet
	read(t, `"a"`, &note)
	if note == nil || *note != "a" {
		t.Fatal(note)
	}
	read(t, `null`, &note)
	if note != nil {
		t.Fatal(*note)
	}
	var item ItemSet
	read(t, `{"sku": "a", "parts": [{"sku": "b"}], "by_name": {}, "parent": null}`, &item)
	if item.Parts[0].Sku != "b" {
		t.Fatal(item)
	}
	var either EitherSet
	read(t, `1`, &either)
	if *either.Integer != 1 {
		t.Fatal(either)
	}
	read(t, `null`, &either)
	if either != nil {
		t.Fatal(either)
	}
	var anything AnySet
	read(t, `[1]`, &anything)
	var moment MomentSet
	read(t, `"2026-01-01T00:00:00Z"`, &moment)
	var moments MomentsSet
	read(t, `["2026-01-01T00:00:00Z"]`, &moments)
	if !moment.Equal(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)) || !moments[0].Equal(moment) {
		t.Fatal(moment, moments)
	}
	var told MomentTold
	read(t, `{"at": "2026-01-01T00:00:00Z", "ended": "2026-01-01T00:00:00Z",
		"pair": ["2026-01-01T00:00:00Z", 1],
		"what": {"kind": "started", "at": "2026-01-01T00:00:00Z"}}`, &told)
	const at = "2026-01-01T00:00:00Z"
	if *told.At.String != at || !told.Ended.Equal(moment) || *told.What.At.String != at ||
		*told.Pair[0].String != at || *told.Pair[1].Integer != 1 {
		t.Fatal(told)
	}
	if text, err := json.Marshal(told.At); err != nil || string(text) != `"`+at+`"` {
		t.Fatal(string(text), err)
	}
	var ab Ab
	read(t, `{"größe": [1], "名前": "a"}`, &ab)
	if ab.Größe[0] != 1 || ab.X名前 != "a" {
		t.Fatal(ab)
	}
	var more MoreTold
	read(t, `{"id": 1, "more": "a"}`, &more)
	var keys KeysTold
	read(t, `{"sizes": {"1": 2}, "prices": {"A": "1.5"}, "moments": {"2026-01-01": 1}}`, &keys)
	if keys.Prices["A"] != "1.5" || TypeDate != "date" {
		t.Fatal(keys)
	}
}
"""


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("module", "reader_ts", "reader_go"),
    [
        ("shop", READER_TS, READER_GO),
        ("clashing", READER_TS_CLASHING, READER_GO_CLASHING),
        ("odd", READER_TS_ODD, READER_GO_ODD),
    ],
    ids=["shop", "clashing", "odd"],
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
    (go / "reader_test.go").write_text(reader_go)
    (go / "go.mod").write_text("module events\n\ngo 1.26.0\n")
    program, environment = (
        binaries.find_go(CACHE / "localkube"), binaries.go_environment(os.environ),
    )  # fmt: skip
    run(program, "vet", ".", cwd=go, env=environment)
    run(program, "test", ".", cwd=go, env=environment)
    formatter = Path(program).with_name("gofmt")
    assert run(formatter, "-d", "events.go", cwd=go, env=environment) == ""


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
