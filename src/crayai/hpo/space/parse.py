"""Hyperparameters as people write them: Cray's lists, TOML tables and lines of text, and lines back.

A line of text is ``FLAG=DOMAIN [OPTION …] [when CONDITION]``::

    --lr=1e-5..1e-1 log default=0.001          --layers=1..4           --units=32..512 step=32
    --activation=relu|tanh default=relu        --nesterov=on|off       --epochs=5
    --momentum=0.0..0.99 when --optimizer == 'sgd'

A range of two whole numbers is whole. Text that is not plain stands in JSON's double quotes, or in single
quotes.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, cast

from crayai.hpo.errors import SpaceError
from crayai.hpo.records import Value
from crayai.hpo.space.base import Hyperparameter, plain
from crayai.hpo.space.hyperparameters import Choice, Constant, Float, Int
from crayai.hpo.space.space import Space

_KINDS = (Float, Int, Choice, Constant)
_PLAIN = re.compile(r"[A-Za-z_./+@:,-][\w./+@:,%-]*")
_QUOTED = r"\"(?:[^\"\\]|\\.)*\"|'[^']*'"
_ITEM = re.compile(rf"({_QUOTED})|([^\s|\"']+)")
_FLAG = re.compile(rf"({_QUOTED})|([^=\"']+?)(?==)")
_OPTION = re.compile(rf"([a-z_]+)(?:=({_QUOTED}|\S+))?(?:\s+|$)")
_WORDS: dict[str, Value] = {"on": True, "true": True, "off": False, "false": False}


def space_from_entries(entries: Any) -> Space:
    """Read Cray's list of ``[flag, default, range or list]``, where hyperparameter objects may stand too.

    Raises:
        SpaceError: With the entry and what is wrong with it.
    """
    if isinstance(entries, str) or not isinstance(entries, Sequence):
        raise SpaceError(f"the hyperparameters must be a list of entries, got {entries!r}")
    return Space([entry if isinstance(entry, _KINDS) else _from_entry(entry) for entry in entries])


def space_from_table(table: Any) -> Space:
    """Read the table ``[params]`` of a study file.

    Raises:
        SpaceError: With the flag, the key and the nearest known key.
    """
    if not isinstance(table, Mapping):
        raise SpaceError(f"the hyperparameters must be a table with a key for each flag, got {table!r}")
    return Space([_from_table(flag, spec) for flag, spec in table.items()])


def space_from_lines(lines: Sequence[str]) -> Space:
    """Read hyperparameters of one line each; the inverse of `as_line`.

    Raises:
        SpaceError: With the line and what is wrong with it.
    """
    return Space([from_line(line) for line in lines])


def from_line(line: str) -> Hyperparameter:
    """Read one hyperparameter; the inverse of `as_line`."""
    match = _FLAG.match(line.strip())
    if match is None or line.strip()[match.end() : match.end() + 1] != "=":
        raise SpaceError(
            f"the hyperparameter {line!r} cannot be read: it needs FLAG=DOMAIN, such as '--lr=1e-5..1e-1 log'"
        )
    flag = str(_unquoted(line, match[1])) if match[1] else match[2]
    items, rest = _domain(line, line.strip()[match.end() + 1 :])
    options = _options(line, rest)
    if len(items) > 1:
        return _build(flag, Choice, {"choices": [_item(line, item) for item in items], **options})
    bounds = items[0].split("..") if items[0][0] not in "\"'" else []
    if len(bounds) > 2:  # noqa: PLR2004 - low and high
        raise SpaceError(f"the hyperparameter {line!r} cannot be read: a range is low..high, got {items[0]!r}")
    if len(bounds) == 2:  # noqa: PLR2004 - low and high
        low, high = (_bound(line, bound) for bound in bounds)
        return _range(flag, low, high, options)
    return _build(flag, Constant, {"constant": _item(line, items[0]), **options})


def as_line(hyperparameter: Hyperparameter) -> str:
    """Write one hyperparameter as a line that `from_line` reads back as an equal one."""
    match hyperparameter:
        case Float() | Int():
            domain = f"{hyperparameter.low!r}..{hyperparameter.high!r}"
        case Choice():
            domain = "|".join(map(_written, hyperparameter.choices))
        case Constant():
            domain = _written(hyperparameter.constant)
        case _:
            raise SpaceError(f"{hyperparameter.flag}: a {type(hyperparameter).__name__} cannot be written as a line")
    bare = type(hyperparameter)(**_domain_of(hyperparameter))
    options = [
        name if value is True else f"{name}={_written(value)}"
        for name in ("log", "step", "default", "ordered", "structural", "start", "pass_as")
        if (value := getattr(hyperparameter, name, None)) != getattr(bare, name, None)
        and not (name == "default" and isinstance(hyperparameter, Constant))
        and value is not None
    ]
    when = [] if hyperparameter.when is None else [f"when {hyperparameter.when}"]
    flag = hyperparameter.flag if re.fullmatch(r"[^\s=\"']+", hyperparameter.flag) else json.dumps(hyperparameter.flag)
    return " ".join([f"{flag}={domain}", *options, *when])


def _domain_of(hyperparameter: Float | Int | Choice | Constant) -> dict[str, Any]:
    names = ("flag", "low", "high", "choices", "constant")
    return {name: getattr(hyperparameter, name) for name in names if hasattr(hyperparameter, name)}


def _from_entry(entry: Any) -> Hyperparameter:
    parts = list(entry) if isinstance(entry, list | tuple) else []
    if len(parts) not in (2, 3) or not isinstance(parts[0], str):
        raise SpaceError(
            f"the entry {entry!r} cannot be read: it needs [flag, default, (low, high)] or "
            "[flag, default, [v1, v2, …]], the default being optional"
        )
    flag, domain = parts[0], parts[-1]
    default = plain(parts[1]) if len(parts) > 2 else None  # noqa: PLR2004 - between flag and domain
    if not hasattr(domain, "__iter__") or isinstance(domain, str):
        raise SpaceError(f"{flag}: a range (low, high) or a list of values is needed, got {domain!r}")
    values = [plain(value) for value in domain]
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if not (isinstance(domain, tuple) and len(values) == 2 and numbers):  # noqa: PLR2004 - low and high
        return _build(flag, Choice, {"choices": values, "default": default, "pass_as": "flag=value"})
    if isinstance(default, float):
        values = [float(value) for value in values]
    return _range(flag, values[0], values[1], {"default": default})


def _from_table(flag: str, spec: Any) -> Hyperparameter:
    if not isinstance(spec, Mapping):
        if isinstance(spec, list):
            raise SpaceError(f"{flag}: write {{ choices = {spec!r} }} for a list of choices")
        return _build(flag, Constant, {"constant": spec})
    options = dict(spec)
    if "choices" in options:
        return _build(flag, Choice, options)
    if "constant" in options:
        return _build(flag, Constant, options)
    if missing := [name for name in ("low", "high") if name not in options]:
        _refuse_unknown(flag, options, ["low", "high", "choices", "constant", *_names(Float)])
        raise SpaceError(
            f"{flag}: {missing[0]!r} is missing; a hyperparameter needs low and high, or choices, or a constant"
        )
    return _range(flag, options.pop("low"), options.pop("high"), options)


def _range(flag: str, low: Any, high: Any, options: dict[str, Any]) -> Hyperparameter:
    """Build an `Int` if all numbers are whole, else a `Float`."""
    numbers = (low, high, options.get("default"), options.get("step"))
    whole = all(number is None or isinstance(number, int) for number in numbers)
    return _build(flag, Int if whole else Float, {"low": low, "high": high, **options})


def _build(flag: str, kind: Callable[..., Hyperparameter], options: Mapping[str, Any]) -> Hyperparameter:
    _refuse_unknown(flag, options, _names(kind))
    return kind(flag, **options)


def _names(kind: Any) -> list[str]:
    return [field.name for field in fields(kind) if field.init and field.name != "flag"]


def _refuse_unknown(flag: str, options: Mapping[str, Any], known: Sequence[str]) -> None:
    for name in options:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else "known here: " + ", ".join(known)
            raise SpaceError(f"{flag}: unknown key {name!r}; {hint}")


def _domain(line: str, text: str) -> tuple[list[str], str]:
    """Split the domain at the bars; return its items as written, and the rest of the line."""
    items: list[str] = []
    end = 0
    while match := _ITEM.match(text, end):
        items.append(match[0])
        end = match.end()
        if text[end : end + 1] != "|":
            break
        end += 1
    if not items or text[end - 1 : end] == "|" or (text[end:] and not text[end].isspace()):
        raise SpaceError(f"the hyperparameter {line!r} cannot be read: its domain needs low..high, a|b|c or a constant")
    return items, text[end:].strip()


def _options(line: str, text: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    end = 0
    while end < len(text):
        match = _OPTION.match(text, end)
        if match is None:
            raise SpaceError(f"the hyperparameter {line!r} cannot be read: an option was expected at {text[end:]!r}")
        if match[1] == "when":
            return {**options, "when": text[match.end() :].strip()}
        options[match[1]] = True if match[2] is None else _item(line, match[2])
        end = match.end()
    return options


def _bound(line: str, text: str) -> Value:
    number = _item(line, text) if text else text
    if isinstance(number, str | bool):
        raise SpaceError(f"the hyperparameter {line!r} cannot be read: a range needs two numbers, got {text!r}")
    return number


def _item(line: str, text: str) -> Value:
    """Read one value: quoted text, on/off, a number, or plain text."""
    if text[0] in "\"'":
        return _unquoted(line, text)
    if text in _WORDS:
        return _WORDS[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _unquoted(line: str, text: str) -> str:
    if text[0] == "'":
        return text[1:-1]
    try:
        return cast("str", json.loads(text))
    except ValueError as error:
        raise SpaceError(f"the hyperparameter {line!r} cannot be read: {text}: {error}") from None


def _written(value: Value | tuple[float, float]) -> str:
    if isinstance(value, tuple):
        return f"{value[0]!r}..{value[1]!r}"
    if isinstance(value, bool):
        return "on" if value else "off"
    if not isinstance(value, str):
        return repr(value)
    plain = _PLAIN.fullmatch(value) and ".." not in value and _item("", value) == value
    return value if plain else json.dumps(value, ensure_ascii=False)
