"""CEL without an API server: what rules of resource definitions are made of."""

from __future__ import annotations

import pytest

from outbox_operator.api import cel
from outbox_operator.api.crdgen import all_crds
from support.rules import rules_in

SELF = {
    "name": "a.b", "note": "1 && 2 || !3", "count": 3, "least": -1, "on": True, "off": False,
    "empty": [], "sizes": [1, 2, 3], "labels": {"team": "shop"},
    "inner": {"mode": "Fast", "items": [{"name": "x"}, {"name": "y", "last": True}]},
}  # fmt: skip
OLD = {"name": "a.b", "count": 2}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("self.on", True),
        ("!self.on", False),
        ("!self.off && self.count == 3", True),
        ("!self.off == self.on", True),
        ("!self.on != self.on", True),
        ("self.on || self.missing == 1", True),
        ("self.off && self.missing == 1", False),
        ("self.off || self.off && self.on", False),
        ("self.on || self.on && self.off", True),
        ("self.note == '1 && 2 || !3'", True),
        ("self.note != '1 && 2 || !3'", False),
        ("self.least == -1 && self.least < 0", True),
        ("self.count > 3 || self.count >= 4 || self.count <= 2", False),
        ("has(self.name) && !has(self.other)", True),
        ("has(self.inner.mode) == has(oldSelf.name)", True),
        ("self == self && self != oldSelf", True),
        ("self.name == oldSelf.name && self.count != oldSelf.count", True),
        ("self.empty.size() == 0 && self.sizes.size() == 3 && self.name.size() == 3", True),
        ("self.sizes[self.sizes.size() - 1] == 3", True),
        ("self.sizes[0] + 1 == self.sizes[1]", True),
        ("2 in self.sizes && 'team' in self.labels && !('mode' in self.labels)", True),
        ("self.name.contains('.') && self.name.startsWith('a')", True),
        (r"self.name.matches('^[a-z]+(\\.[a-z]+)*$')", True),
        (r"self.name.matches('^\\.')", False),
        ("self.inner.items.all(x, has(x.name))", True),
        ("self.inner.items.all(x, x.name == 'x')", False),
        ("self.inner.items.exists(x, has(x.last) && x.last)", True),
        ("self.empty.exists(x, x == 1) || !self.empty.all(x, x == 1)", False),
        ("[has(self.name), has(self.other), self.on].filter(x, x).size() == 2", True),
        ("true && !false", True),
    ],
)
def test_what_a_rule_says(rule: str, expected: bool) -> None:
    assert cel.holds(rule, self=SELF, oldSelf=OLD) is expected


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("self.other == 1", "other is not there"),
        ("self.sizes[7] == 1", "7 is not there"),
        ("self.name", "wanted true or false in a rule, found str"),
        ("self.name.endsWith('b')", "endsWith"),
        ("self.sizes.map(x, x)", "map"),
        ("self.on == self.on == self.on", "is not known"),
        ("size(self.sizes) == 3", "size"),
        ("self.on || self.on.map(x, x)", "map"),
        ("self.on ? true : false", "is not known"),
    ],
)
def test_what_cannot_be_answered_never_holds(rule: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        cel.holds(rule, self=SELF, oldSelf=OLD)


def test_every_rule_of_ours_can_be_read() -> None:
    rules = {one["rule"] for crd in all_crds() for one in rules_in(crd)}
    assert len(rules) > 100
    for rule in rules:
        try:
            cel.holds(rule, self={}, oldSelf={})
        except ValueError as error:
            assert "is not there" in str(error), rule  # noqa: PT017 (or it holds, or does not)
