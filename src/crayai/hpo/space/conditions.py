"""Conditions: when a hyperparameter counts, written as ``--optimizer == 'sgd' and --layers > 1``.

The grammar, loosest first::

    condition  = conjunct { "or" conjunct }
    conjunct   = negation { "and" negation }
    negation   = "not" negation | "(" condition ")" | comparison
    comparison = operand ( "==" | "!=" | "<" | "<=" | ">" | ">=" ) operand
               | operand [ "not" ] "in" "[" literal { "," literal } "]"
               | flag                                        (true if it is on)
    operand    = flag | literal

A comparison with an inactive hyperparameter is neither true nor false (None, after Kleene's logic of three values),
and a hyperparameter counts only if its condition is true.
"""

import operator
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, NoReturn

from crayai.hpo.errors import SpaceError
from crayai.hpo.records import Value, Values

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<operator>==|!=|<=|>=|<|>)
      | (?P<mark>[()\[\],])
      | (?P<string>'[^']*'|"[^"]*")
      | (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.])
      | (?P<word>[A-Za-z_][\w.-]*)
    )""",
    re.VERBOSE,
)
_LITERAL_WORDS = {"true": True, "True": True, "on": True, "false": False, "False": False, "off": False}
_RESERVED = {"and", "or", "not", "in"}


@dataclass(frozen=True, slots=True)
class Flag:
    """The value of another hyperparameter."""

    name: str


Operand = Flag | Value


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two operands compared; `right` is a tuple of literals for ``in``."""

    left: Operand
    operator: str
    right: Operand | tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite."""

    part: "Condition"


@dataclass(frozen=True, slots=True)
class Combined:
    """All (``and``) or any (``or``) of the parts."""

    word: str
    parts: tuple["Condition", ...]


Condition = Comparison | Not | Combined


def holds(condition: Condition, values: Values) -> bool | None:
    """Return whether `condition` is true of the active `values`; None where an inactive one decides."""
    match condition:
        case Comparison():
            return _compare(condition, values)
        case Not(part):
            result = holds(part, values)
            return None if result is None else not result
        case Combined(word, parts):
            results = [holds(part, values) for part in parts]
            decisive = word == "or"
            if decisive in results:
                return decisive
            return None if None in results else not decisive


def flags_in(condition: Condition) -> frozenset[str]:
    """Return the hyperparameters that `condition` speaks of."""
    match condition:
        case Comparison(left, _, right):
            return frozenset(side.name for side in (left, right) if isinstance(side, Flag))
        case Not(part):
            return flags_in(part)
        case Combined(_, parts):
            return frozenset().union(*(flags_in(part) for part in parts))


def comparisons_in(condition: Condition) -> list[Comparison]:
    """Return every comparison in `condition`, in the order written."""
    match condition:
        case Comparison():
            return [condition]
        case Not(part):
            return comparisons_in(part)
        case Combined(_, parts):
            return [comparison for part in parts for comparison in comparisons_in(part)]


def parse_condition(text: str, flags: Collection[str]) -> Condition:
    """Return what `text` says, where only the hyperparameters in `flags` may occur.

    Raises:
        SpaceError: With the text and the place of the mistake.
    """
    return _Parser(text, flags).parse()


def _compare(comparison: Comparison, values: Values) -> bool | None:
    left, right = (
        values.get(side.name) if isinstance(side, Flag) else side for side in (comparison.left, comparison.right)
    )
    if left is None or right is None:
        return None
    if isinstance(right, tuple):
        return (left in right) == (comparison.operator == "in")
    try:
        return _OPERATORS[comparison.operator](left, right)
    except TypeError:
        return False  # a mixed list of choices may hold a string where a number is compared


class _Parser:
    """Recursive descent over the tokens of one condition."""

    def __init__(self, text: str, flags: Collection[str]) -> None:
        self.text = text
        self.flags = sorted(flags, key=len, reverse=True)  # the longest first: --lr-decay before --lr
        self.tokens = list(self._tokens())
        self.next = 0

    def parse(self) -> Condition:
        condition = self._combined("or")
        if self._peek() is not None:
            self._fail(f"{self._peek()!r} was not expected")
        return condition

    def _tokens(self) -> "list[tuple[str, Value]]":
        tokens: list[tuple[str, Value]] = []
        rest = self.text.strip()
        while rest:
            flag = next((f for f in self.flags if rest.startswith(f) and not re.match(r"[\w-]", rest[len(f) :])), None)
            if flag is not None:
                tokens.append(("flag", flag))
                rest = rest[len(flag) :].lstrip()
                continue
            match = _TOKEN.match(rest)
            if match is None or match.lastgroup is None:
                self._fail(f"no hyperparameter or literal at {rest!r}")
            tokens.append(_token(match.lastgroup, match[match.lastgroup]))
            rest = rest[match.end() :].lstrip()
        return tokens

    def _combined(self, word: str) -> Condition:
        parts = [self._part(word)]
        while self._accept("word", word):
            parts.append(self._part(word))
        return parts[0] if len(parts) == 1 else Combined(word, tuple(parts))

    def _part(self, word: str) -> Condition:
        return self._combined("and") if word == "or" else self._negation()

    def _negation(self) -> Condition:
        if self._accept("word", "not"):
            return Not(self._negation())
        if self._accept("mark", "("):
            condition = self._combined("or")
            self._expect("mark", ")")
            return condition
        return self._comparison()

    def _comparison(self) -> Condition:
        left = self._operand()
        kind, value = self.tokens[self.next] if self.next < len(self.tokens) else ("end", "")
        if kind == "operator":
            self.next += 1
            return Comparison(left, str(value), self._operand())
        if self._accept("word", "in"):
            return Comparison(left, "in", self._list())
        if self._accept("word", "not"):
            self._expect("word", "in")
            return Comparison(left, "not in", self._list())
        if not isinstance(left, Flag):
            self._fail(f"a comparison was expected after {left!r}")
        return Comparison(left, "==", right=True)

    def _list(self) -> tuple[Value, ...]:
        self._expect("mark", "[")
        items = [self._literal()]
        while self._accept("mark", ","):
            items.append(self._literal())
        self._expect("mark", "]")
        return tuple(items)

    def _operand(self) -> Operand:
        operand = self._take()
        return Flag(str(operand[1])) if operand[0] == "flag" else self._checked_literal(*operand)

    def _literal(self) -> Value:
        return self._checked_literal(*self._take())

    def _checked_literal(self, kind: str, value: Value) -> Value:
        if kind != "literal":
            known = ", ".join(sorted(self.flags))
            self._fail(f"{value!r} is neither a hyperparameter ({known}) nor a literal (quote strings)")
        return value

    def _take(self) -> tuple[str, Value]:
        if self.next == len(self.tokens):
            self._fail("it ends too early")
        self.next += 1
        return self.tokens[self.next - 1]

    def _peek(self) -> Value | None:
        return self.tokens[self.next][1] if self.next < len(self.tokens) else None

    def _accept(self, kind: str, value: str) -> bool:
        found = self.next < len(self.tokens) and self.tokens[self.next] == (kind, value)
        self.next += found
        return found

    def _expect(self, kind: str, value: str) -> None:
        if not self._accept(kind, value):
            self._fail(f"{value!r} was expected" + (f" before {self._peek()!r}" if self._peek() is not None else ""))

    def _fail(self, problem: str) -> NoReturn:
        raise SpaceError(f"the condition {self.text!r} cannot be read: {problem}")


def _token(kind: str, text: str) -> tuple[str, Value]:
    if kind == "string":
        return ("literal", text[1:-1])
    if kind == "number":
        try:
            return ("literal", int(text))
        except ValueError:
            return ("literal", float(text))
    if kind == "word" and text not in _RESERVED:
        return ("literal", _LITERAL_WORDS[text]) if text in _LITERAL_WORDS else ("unknown", text)
    return (kind, text)
