"""Rules of our resource definitions in CEL, answered without an API server. Pure.

Called by `api.admission`. Only what our rules are made of is known: fields, `has`, comparisons,
`!`, `&&`, `||`, `in`, numbers that are added, places of a list, and the functions of `_FUNCTIONS`
and `_MACROS`. A rule that needs more fails a test, and never passes for one that holds. The
notation is so near to Python's that Python reads it: only three signs differ. Libraries for all of
CEL bring a parser generator, or six megabytes and a toolkit for terminals, into each `outbox dev`.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

Variables = Mapping[str, Any]
Answer = Callable[[Variables], Any]
Macro = Callable[[list[Any], Callable[[Any], bool]], Any]

_SIGNS: Final = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|&&|\|\||!=|!")
# `~` binds as tightly as CEL's `!`; Python's `not` does not.
_IN_PYTHON: Final = {"&&": " and ", "||": " or ", "!": "~"}

_COMPARISONS: Final[Mapping[type[ast.cmpop], Callable[[Any, Any], bool]]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda one, many: one in many,
}
_SUMS: Final[Mapping[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
}
_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "size": len,
    "contains": lambda text, part: part in text,
    "startsWith": lambda text, part: text.startswith(part),
    "matches": lambda text, pattern: re.search(pattern, text) is not None,
}
_MACROS: Final[Mapping[str, Macro]] = {
    "all": lambda items, holds: all(map(holds, items)),
    "exists": lambda items, holds: any(map(holds, items)),
    "filter": lambda items, holds: list(filter(holds, items)),
}


def holds(rule: str, **variables: Any) -> bool:
    """Whether a rule holds.

    Args:
        rule: In CEL.
        variables: Values as in JSON, in which nothing is null, by their name in the rule.

    Raises:
        ValueError: Something in the rule is not known here; or it asks for a field that is not
            there, and an API server refuses the object then, too.
    """
    return _truth(_read(rule), variables)


@lru_cache(maxsize=512)
def _read(rule: str) -> Answer:
    text = _SIGNS.sub(lambda found: _IN_PYTHON.get(found[0], found[0]), rule)
    try:
        return _answer(ast.parse(text.strip(), mode="eval").body)
    except SyntaxError as error:
        raise ValueError(f"{rule} is not known in a rule") from error


def _truth(answer: Answer, variables: Variables) -> bool:
    found = answer(variables)
    if not isinstance(found, bool):
        raise ValueError(f"wanted true or false in a rule, found {type(found).__name__}")
    return found


def _answer(node: ast.expr) -> Answer:
    """What a part of a rule answers; all of it is read before any of it is asked."""
    match node:
        case ast.Constant(value=value):
            return lambda _: value
        case ast.Name(id="true" | "false" as word):
            return lambda _: word == "true"
        case ast.Name(id=name):
            return lambda variables: variables[name]
        case ast.List(elts=parts):
            items = [_answer(part) for part in parts]
            return lambda variables: [item(variables) for item in items]
        case ast.UnaryOp(op=ast.Invert(), operand=part):
            one = _answer(part)
            return lambda variables: not _truth(one, variables)
        case ast.UnaryOp(op=ast.USub(), operand=part):
            one = _answer(part)
            return lambda variables: -one(variables)
        case ast.BoolOp(op=sign, values=parts):
            items, every = [_answer(part) for part in parts], isinstance(sign, ast.And)
            judge = all if every else any
            return lambda variables: judge(_truth(item, variables) for item in items)
        case ast.Compare(left=left, ops=[sign], comparators=[right]) if type(sign) in _COMPARISONS:
            return _of_two(_COMPARISONS[type(sign)], left, right)
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _SUMS:
            return _of_two(_SUMS[type(sign)], left, right)
        case ast.Attribute(value=of, attr=name):
            whole = _answer(of)
            return lambda variables: _part(whole(variables), name)
        case ast.Subscript(value=of, slice=place):
            return _of_two(_part, of, place)
        case ast.Call(func=ast.Name(id="has"), args=[ast.Attribute(value=of, attr=name)]):
            whole = _answer(of)
            return lambda variables: name in whole(variables)
        case ast.Call(func=ast.Attribute(value=of, attr=name), args=parts) if name in _FUNCTIONS:
            function, items = _FUNCTIONS[name], [_answer(part) for part in (of, *parts)]
            return lambda variables: function(*(item(variables) for item in items))
        case ast.Call(func=ast.Attribute(value=of, attr=name), args=[ast.Name(id=each), part]) if (
            name in _MACROS
        ):
            return _of_each(_MACROS[name], _answer(of), each, _answer(part))
    raise ValueError(f"{ast.unparse(node)} is not known in a rule")


def _of_two(combine: Callable[[Any, Any], Any], left: ast.expr, right: ast.expr) -> Answer:
    first, second = _answer(left), _answer(right)
    return lambda variables: combine(first(variables), second(variables))


def _of_each(macro: Macro, many: Answer, name: str, one: Answer) -> Answer:
    return lambda variables: macro(
        many(variables), lambda item: _truth(one, {**variables, name: item})
    )


def _part(whole: Any, name: Any) -> Any:
    try:
        return whole[name]
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"{name} is not there") from error
