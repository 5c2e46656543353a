"""The arguments of commands that submit: which of them users have given, and of which a refusal speaks."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence

from crayai.hpo.launch.batch.dialect import Answer


def given(options: Sequence[str], words: Sequence[str]) -> str:
    """Return the first of the options among the words, with its value; empty: none is there.

    An option may be written as ``-t 5``, ``-t5``, ``--time 5`` or ``--time=5``.
    """
    return next(_all_given(options, words), "")


def refusal(answer: Answer, argv: Sequence[str], blamed: Mapping[str, Sequence[str]]) -> str:
    """Return what was refused, the arguments that it may speak of, and the whole command.

    Args:
        answer: Of the command.
        argv: The command.
        blamed: What a refusal may speak of, and the options that say it.
    """
    said = answer.err or answer.out
    for pattern, options in blamed.items():
        if re.search(pattern, said, re.IGNORECASE) and (found := list(_all_given(options, argv))):
            said += f"\nThe argument that it speaks of: {', '.join(found)}"
            break
    return f"{said}\nThe command was: {shlex.join(argv)}"


def _all_given(options: Sequence[str], words: Sequence[str]) -> Iterator[str]:
    for place, word in enumerate(words):
        for option in options:
            if word == option:
                yield " ".join(words[place : place + 2])
            elif word.startswith(option + "=" if option.startswith("--") else option) and word[:2] == option[:2]:
                yield word
