"""From values to what the program receives: command line, environment variables, placeholders.

A command may hold ``@{--lr}`` (the value of that hyperparameter, which is then not appended),
``@evaluation``, ``@directory`` and ``@seed``, and of trainings that go on from a checkpoint ``@load``, ``@save`` (or
``@checkpoint`` for both), ``@window`` and ``@windows``. What has no placeholder is appended. A command without shell
syntax is split into words once and needs no shell; any other is one line for ``/bin/sh``, with every value
quoted for the place where it stands.
"""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from crayai.hpo.errors import SpaceError
from crayai.hpo.records import Values
from crayai.hpo.space.base import Hyperparameter, as_text
from crayai.hpo.space.space import Space

FACTS = ("evaluation", "directory", "seed", "checkpoint", "load", "save", "window", "windows")
"""The placeholders besides the hyperparameters."""

_SHELL = ("/bin/sh", "-c")
_PLACEHOLDER = re.compile(rf"@\{{([^{{}}]+)\}}|@({'|'.join(FACTS)})\b")
_SHELL_SYNTAX = re.compile(r"[|&;<>()$`\\*?\[\]#~!{}\n\r^]")
_STAND_IN = "\ue000"  # private use: in no command
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*\+?=")
_SHELL_LANGUAGE = (
    ". : [ alias bg break builtin case cd command continue declare do done echo elif else esac eval exec exit "
    "export fg fi for function getopts hash if in jobs kill let local printf pwd read readonly return select "
    "set shift source test then time times trap type ulimit umask unalias unset until wait while"
)
_SHELL_WORDS = frozenset(_SHELL_LANGUAGE.split())


@dataclass(frozen=True, slots=True)
class Rendered:
    """What one evaluation runs.

    Attributes:
        argv: The program and its arguments; a shell and its line where the command needs a shell.
        environment: Hyperparameters that are passed as environment variables.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str]

    @property
    def line(self) -> str:
        """The same as a line to paste into a shell."""
        command = self.argv[2] if self.argv[:2] == _SHELL else shlex.join(self.argv)
        return " ".join([*(f"{name}={shlex.quote(text)}" for name, text in self.environment.items()), command])


class Command:
    """A command of the user, ready to be filled with values.

    Raises:
        SpaceError: The command is empty, is no shell command, or has a placeholder that is no hyperparameter.
    """

    def __init__(self, text: str, space: Space) -> None:
        self.text = text.strip()
        self.space = space
        if not self.text:
            raise SpaceError("the command is empty: give the program to run, such as 'python train.py'")
        self._in_place = {name for name, _ in _PLACEHOLDER.findall(self.text) if name and name not in FACTS}
        for name in self._in_place.difference(space.flags):
            near = get_close_matches(name, space.flags, 1)
            hint = f"did you mean @{{{near[0]}}}?" if near else "the hyperparameters are " + ", ".join(space.flags)
            raise SpaceError(f"the command has the placeholder @{{{name}}}, which is no hyperparameter; {hint}")
        self.facts = {match[1] or match[2] for match in _PLACEHOLDER.finditer(self.text)} & {*FACTS}
        self.words = plain_words(self.text)

    @property
    def program(self) -> str | None:
        """The program to start; None where a shell decides or a placeholder names it."""
        return None if self.words is None or _PLACEHOLDER.search(self.words[0]) else self.words[0]

    def render(self, values: Values, facts: Mapping[str, str]) -> Rendered:
        """Fill in `values`, and `facts` for the placeholders of `FACTS`."""
        texts = {**facts, **{flag: as_text(value) for flag, value in values.items()}}
        appended: list[str] = []
        environment: dict[str, str] = {}
        for flag in values:
            hyperparameter = self.space[flag]
            if hyperparameter.pass_as == "environment":
                environment[flag] = texts[flag]
            elif flag not in self._in_place:
                appended += _words(hyperparameter, values, texts[flag])
        if self.words is None:
            line = " ".join([_fill_line(self.text, texts), *map(shlex.quote, appended)])
            return Rendered((*_SHELL, line), environment)
        filled = (_fill(word, texts) for word in self.words)
        return Rendered((*(word for word in filled if word is not None), *appended), environment)

    def arguments_line(self, values: Values) -> str:
        """Return the hyperparameters alone, as on a command line."""
        return shlex.join([word for flag in values for word in _words(self.space[flag], values, as_text(values[flag]))])


def plain_words(command: str) -> tuple[str, ...] | None:
    """Return the words of a command that means the same without a shell; None if it needs one.

    Raises:
        SpaceError: A quotation mark is not closed.
    """
    if _SHELL_SYNTAX.search(_PLACEHOLDER.sub("", command)):
        return None
    placeholders = [match[0] for match in _PLACEHOLDER.finditer(command)]
    following = iter(placeholders)  # a flag with a blank or a quotation mark must not split its placeholder
    try:
        words = tuple(
            re.sub(_STAND_IN, lambda _: next(following), word)
            for word in shlex.split(_PLACEHOLDER.sub(_STAND_IN, command))
        )
    except ValueError as error:
        raise SpaceError(f"the command {command!r} cannot be read: {error}") from None
    if not words or words[0] in _SHELL_WORDS or _ASSIGNMENT.match(words[0]):
        return None
    return words


def _words(hyperparameter: Hyperparameter, values: Values, text: str) -> list[str]:
    """Return the words to append; a flag with a blank, such as ``--optimizer lr``, is two words."""
    flag = hyperparameter.flag.split()
    if hyperparameter.pass_as == "switch":
        return flag if values[hyperparameter.flag] else []
    if hyperparameter.pass_as == "flag value":
        return [*flag, text]
    return [*flag[:-1], f"{flag[-1]}={text}"]


def _fill(word: str, texts: Mapping[str, str]) -> str | None:
    """Fill placeholders without quoting; an inactive hyperparameter leaves nothing, not even an empty word."""
    if "@" not in word:
        return word
    whole = _PLACEHOLDER.fullmatch(word)
    if whole is not None:
        return texts.get(whole[1] or whole[2])
    return _PLACEHOLDER.sub(lambda match: texts.get(match[1] or match[2], ""), word)


def _fill_line(line: str, texts: Mapping[str, str]) -> str:
    """Fill placeholders of a shell line, quoting each value for the quotation marks that it stands in."""
    filled: list[str] = []
    end = 0
    mark = ""
    for match in _PLACEHOLDER.finditer(line):
        mark = open_mark(line[end : match.start()], mark)
        text = texts.get(match[1] or match[2])
        filled += [line[end : match.start()], "" if text is None else _quote(text, mark)]
        end = match.end()
    return "".join([*filled, line[end:]])


def open_mark(text: str, mark: str) -> str:
    """Return which quotation mark is open after `text`, given the one that is open before it."""
    escaped = False
    for letter in text:
        if escaped:
            escaped = False
        elif letter == "\\" and mark != "'":
            escaped = True
        elif letter in "'\"" and mark in ("", letter):
            mark = "" if mark else letter
    return mark


def _quote(text: str, mark: str) -> str:
    if mark == "'":
        return text.replace("'", "'\\''")
    if mark == '"':
        return re.sub(r'([\\"$`])', r"\\\1", text)
    return shlex.quote(text)
