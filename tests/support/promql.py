"""What an expression asks for, and whether it can ever be there.

Follows the labels through an expression: a metric or label that nobody exports, a group by a label
that is gone, and two sides that never match are faults. Prometheus itself answers nothing, and an
alert of it never fires.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import promql_parser as promql
from promql_parser import AggModifierType, LabelModifierType, VectorMatchCardinality

TARGET: Final = frozenset({"job", "instance", "namespace", "pod"})
"""Labels that a target may add to whatever it exports."""
Labels = frozenset[str]


class PromqlError(Exception):
    """An expression that can give nothing; the text is why."""


def labels_of(expression: str, table: Mapping[str, Labels]) -> Labels | None:
    """The labels that the series of an expression may have; None of a scalar.

    Args:
        table: Labels of each metric as it is asked for: of a histogram `…_bucket`, with `le`.

    Raises:
        PromqlError: It asks for what is not in the table, or can never match.
    """
    try:
        return _labels(promql.parse(expression), table)
    except ValueError as error:
        raise PromqlError(f"{expression}: {error}") from None


def _labels(node: promql.Expr, table: Mapping[str, Labels]) -> Labels | None:
    match node:
        case promql.VectorSelector():
            return _selected(node, table)
        case promql.MatrixSelector():
            return _selected(node.vector_selector, table)
        case promql.ParenExpr() | promql.SubqueryExpr() | promql.UnaryExpr():
            return _labels(node.expr, table)
        case promql.NumberLiteral() | promql.StringLiteral():
            return None
        case promql.Call():
            return _called(node, table)
        case promql.AggregateExpr():
            return _aggregated(node, table)
        case promql.BinaryExpr():
            return _combined(node, table)
    raise PromqlError(f"{node}: not looked at yet; teach it {type(node).__name__}")


def _selected(node: promql.VectorSelector, table: Mapping[str, Labels]) -> Labels:
    if node.name is None or node.name not in table:
        raise PromqlError(f"no metric {node.name}")
    # A recorded number has its labels and no target's.
    known = table[node.name] if ":" in node.name else table[node.name] | TARGET
    for matcher in node.matchers.matchers:
        _demand(matcher.name, known, node)
    return known


def _called(node: promql.Call, table: Mapping[str, Labels]) -> Labels | None:
    found = [labels for one in node.args if (labels := _labels(one, table)) is not None]
    if not found:
        return None
    (labels,) = found
    if node.func.name == "label_replace":
        texts = [one.val for one in node.args if isinstance(one, promql.StringLiteral)]
        _demand(texts[2], labels, node)
        return labels | {texts[0]}
    if node.func.name == "histogram_quantile":
        _demand("le", labels, node)
        return labels - {"le"}
    return labels


def _aggregated(node: promql.AggregateExpr, table: Mapping[str, Labels]) -> Labels:
    labels = _labels(node.expr, table) or frozenset()
    if node.modifier is None:
        return frozenset()
    named = frozenset(node.modifier.labels)
    for name in named:
        _demand(name, labels, node)
    return named if node.modifier.type == AggModifierType.By else labels - named


def _combined(node: promql.BinaryExpr, table: Mapping[str, Labels]) -> Labels | None:
    left, right = _labels(node.lhs, table), _labels(node.rhs, table)
    if left is None or right is None:
        return left if right is None else right
    if str(node.op) == "or":
        return left | right
    modifier = node.modifier
    matching = modifier.matching if modifier else None
    if matching is None:
        if left != right:
            raise PromqlError(f"{node}: {sorted(left)} never match {sorted(right)}")
    elif matching.type == LabelModifierType.Include:
        for name in matching.labels:
            _demand(name, left & right, node)
    if str(node.op) in ("and", "unless") or modifier is None:
        return left
    if modifier.card == VectorMatchCardinality.OneToMany:
        return right | frozenset(modifier.group_labels or ())
    return left


def _demand(name: str, known: Labels, node: object) -> None:
    if name not in known:
        raise PromqlError(f"{node}: no label {name} among {sorted(known)}")
