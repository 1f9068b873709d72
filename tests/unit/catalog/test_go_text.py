"""What is changed of the Go that quicktype writes; gofmt itself looks at all of it in
`tests/integration/test_catalog_code.py`."""

from __future__ import annotations

import pytest

from outbox_operator.catalog.go_text import tidied

HEAD = "// A comment.\n\npackage events\n\n"
OWN = "func other() {\n\tif true {\n\t\treturn\n\t}\n}\n"

COMMENTED = """type A struct {
	// The code.______
	// It.____________
	Code          string `json:"c"`
	N             int64  `json:"n"`
	// kg_____________
	名前            string `json:"名前"`
}
""".replace("_", " ")
COMMENTED_WELL = """type A struct {
	// The code.
	// It.
	Code string `json:"c"`
	N    int64  `json:"n"`
	// kg
	X名前 string `json:"名前"`
}
"""


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", ""),
        (f"{HEAD}{OWN}", f"{HEAD}{OWN}"),
        (f'{HEAD}// A time.Time of a struct {{\n// import "time"\n{OWN}',) * 2,
        (
            f"{HEAD}func unmarshalUnion(data []byte) {{\n\tif true {{\n\t\t\tif false {{\n"
            f"\t\t\t\t\treturn\n\t\t\t}}\n\t}}\n}}\n\n{OWN}",
            f"{HEAD}func unmarshalUnion(data []byte) {{\n\tif true {{\n\t\tif false {{\n"
            f"\t\t\treturn\n\t\t}}\n\t}}\n}}\n\n{OWN}",
        ),
        (
            f"{HEAD}type A []time.Time\n",
            '// A comment.\n\npackage events\n\nimport "time"\n\ntype A []time.Time\n',
        ),
        (f'{HEAD}import "time"\n\ntype A []time.Time\n',) * 2,
        (COMMENTED, COMMENTED_WELL),
    ],
)
def test_what_is_changed(text: str, wanted: str) -> None:
    assert tidied(text) == wanted


UNION = """package events

import "bytes"
{time}
import "encoding/json"

type A struct {{
	{name} {kind}
	{integer} *int64
}}

func (x *A) UnmarshalJSON(data []byte) error {{
	object, err := unmarshalUnion(data, &x.Integer, nil, nil, {read}, false, nil, false)
}}

func (x *A) MarshalJSON() ([]byte, error) {{
	return marshalUnion(x.Integer, nil, nil, {written}, false, nil, false)
}}
"""


def test_a_moment_in_a_union_is_text() -> None:
    """quicktype 26.0.0 never reads it: text is in no such union."""
    made = UNION.format(
        time='import "time"\n', name="DateTime", integer="Integer ", kind="*time.Time", read="nil",
        written="nil",
    )  # fmt: skip
    wanted = UNION.format(
        time="", name="String ", integer="Integer", kind="*string", read="&x.String",
        written="x.String",
    )  # fmt: skip
    assert tidied(made) == wanted
