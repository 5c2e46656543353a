"""From values to what the program receives."""

import json
import os
import shlex
import subprocess
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crayai.hpo.errors import SpaceError
from crayai.hpo.space.hyperparameters import Choice, Constant, Float, Int
from crayai.hpo.space.render import Command, plain_words
from crayai.hpo.space.space import Space

FACTS = {"evaluation": "7", "directory": "/tmp/a b", "seed": "99"}
ODD = [
    "a b",
    "  ",
    "it's",
    '"quoted"',
    "'",
    '"',
    "line\nbreak",
    "$HOME",
    "${HOME}",
    "$(echo no)",
    "`echo no`",
    "\\",
    "\\n",
    "a\\",
    "größe 漢字 🙂",
    "*",
    "~",
    "#no",
    "!",
    "; echo no",
    "| cat",
    "&",
    "-x",
    "@{--c}",
    "@seed",
    "%s",
    "\t",
    "=",
    "{a,b}",
    "",
]
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


@pytest.fixture(scope="module")
def echo(tmp_path_factory):
    """Return a command without shell syntax whose program prints its arguments."""
    program = tmp_path_factory.mktemp("echo") / "echo.py"
    program.write_text("import sys, json; print(json.dumps(sys.argv[1:]))\n")
    return f"{sys.executable} -S {program}"


def received(rendered):
    """Return the arguments that a program gets, in words, when the command is run."""
    done = subprocess.run(rendered.argv, env={**os.environ, **rendered.environment}, check=True, capture_output=True)
    return json.loads(done.stdout)


def of_choices(*choices, flag="--c", **options):
    """Return a space with one list of choices."""
    return Space([Choice(flag, choices, **options)])


def arguments(space, values, command="prog"):
    """Return the words of a plain command, rendered."""
    return Command(command, space).render(values, FACTS).argv


def test_flags_are_appended_in_the_order_of_the_space():
    """The command line is the command and ``flag=value`` for each active hyperparameter."""
    space = Space([Float("--lr", 0.0, 1.0), Int("-n", 0, 9), Choice("--kind", ["a", "b"])])
    words = arguments(space, {"--lr": 1e-05, "-n": -3, "--kind": "a"}, "python train.py --epochs 5")
    assert words == ("python", "train.py", "--epochs", "5", "--lr=1e-05", "-n=-3", "--kind=a")


@pytest.mark.parametrize(
    ("value", "text"), [(0.1, "0.1"), (0.33333333, "0.33333333"), (1e-05, "1e-05"), (100.0, "100"), (1e20, "1e+20")]
)
def test_floats_have_eight_digits(value, text):
    """A float is written ``%.8g``."""
    assert arguments(Space([Float("-x", 0.0, 1e30)]), {"-x": value}) == ("prog", f"-x={text}")


def test_a_flag_with_a_blank_is_two_words():
    """``--optimizer lr`` renders as the words ``--optimizer`` and ``lr=0.1``."""
    space = Space([Float("--optimizer lr", 0.0, 1.0)])
    assert arguments(space, {"--optimizer lr": 0.1}) == ("prog", "--optimizer", "lr=0.1")


@pytest.mark.parametrize(
    ("hyperparameter", "value", "words"),
    [
        (Float("--lr", 0.0, 1.0, pass_as="flag value"), 0.5, ("--lr", "0.5")),
        (Float("--opt lr", 0.0, 1.0, pass_as="flag value"), 0.5, ("--opt", "lr", "0.5")),
        (Choice("--nesterov", [True, False]), True, ("--nesterov",)),
        (Choice("--nesterov", [True, False]), False, ()),
        (Choice("--nesterov", [True, False], pass_as="flag=value"), False, ("--nesterov=False",)),
        (Constant("--amp", constant=True), True, ("--amp",)),
        (Constant("lr", 3), 3, ("lr=3",)),
    ],
)
def test_ways_to_pass_a_value(hyperparameter, value, words):
    """A value stands behind its flag, after it, or says whether the flag is there."""
    assert arguments(Space([hyperparameter]), {hyperparameter.flag: value}) == ("prog", *words)


def test_environment_variables():
    """A hyperparameter may reach the program as an environment variable, and then not on the command line."""
    space = Space([Float("LR", 0.0, 1.0, pass_as="environment"), Int("-n", 0, 9)])
    rendered = Command("prog", space).render({"LR": 0.5, "-n": 1}, FACTS)
    assert (rendered.argv, rendered.environment) == (("prog", "-n=1"), {"LR": "0.5"})
    assert rendered.line == "LR=0.5 prog -n=1"


def test_placeholders_are_filled_and_not_appended():
    """A value stands where its placeholder is, as often as that, and not at the end."""
    space = Space([Float("--lr", 0.0, 1.0), Int("-n", 0, 9)])
    words = arguments(space, {"--lr": 0.5, "-n": 1}, "prog --rate @{--lr} x@{--lr}y @{-n}@{--lr}")
    assert words == ("prog", "--rate", "0.5", "x0.5y", "10.5")


def test_facts_have_placeholders():
    """The evaluation's number, directory and seed stand where the command says."""
    command = Command("prog @evaluation --dir=@directory/out @{seed} me@host @seeds", of_choices("a", "b"))
    assert command.render({"--c": "a"}, FACTS).argv == (
        "prog",
        "7",
        "--dir=/tmp/a b/out",
        "99",
        "me@host",
        "@seeds",
        "--c=a",
    )
    assert "directory" in command.facts
    assert Command("prog @evaluation", of_choices("a", "b")).facts == {"evaluation"}


@pytest.mark.parametrize("flag", ["--optimizer lr", "it's", 'say "x"', "a=b", "größe", "$x", "a|b"])
@pytest.mark.parametrize(
    "command", ["prog x@{{{0}}} y", "prog x@{{{0}}} y;", "prog 'x@{{{0}}}' y", 'prog "x@{{{0}}}" y']
)
def test_a_placeholder_of_an_odd_flag_is_one(flag, command):
    """A placeholder is found whatever its flag is made of, with a shell and without."""
    rendered = Command(command.format(flag), of_choices("1", "2", flag=flag)).render({flag: "1"}, FACTS)
    assert shlex.split(rendered.line.replace(";", "")) == ["prog", "x1", "y"]


@pytest.mark.parametrize("end", ["", ";"], ids=["plain", "shell"])
def test_an_inactive_hyperparameter_leaves_nothing(echo, end):
    """Where an inactive hyperparameter has a placeholder, nothing stands, not even an empty word."""
    space = Space([Int("-n", 0, 9), Int("-m", 0, 9, when="-n > 5")])
    command = Command(f"{echo} @{{-m}} x@{{-m}} @{{-n}}{end}", space)
    assert (command.words is None) == bool(end)
    assert received(command.render({"-n": 1}, FACTS)) == ["x", "1"]
    assert received(command.render({"-n": 8, "-m": 2}, FACTS)) == ["2", "x2", "8"]


BAD = [
    ("", "the command is empty: give the program to run"),
    ("  \n", "the command is empty: give the program to run"),
    ("prog @{--rl}", "the placeholder @{--rl}, which is no hyperparameter; did you mean @{--lr}?"),
    ("prog @{xyz}", "the placeholder @{xyz}, which is no hyperparameter; the hyperparameters are --lr"),
    ("prog 'a", 'the command "prog \'a" cannot be read: No closing quotation'),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_commands_that_cannot_be_are_refused(text, message):
    """The error names the placeholder and the nearest hyperparameter, or quotes the command."""
    with pytest.raises(SpaceError) as caught:
        Command(text, Space([Float("--lr", 0.0, 1.0)]))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("python train.py", ("python", "train.py")),
        ("./a.out -x 'a b' \"c\"", ("./a.out", "-x", "a b", "c")),
        ("prog --lr=@{--lr} @directory", ("prog", "--lr=@{--lr}", "@directory")),
        ("prog 'ä ö'", ("prog", "ä ö")),
    ],
)
def test_plain_commands_need_no_shell(command, words):
    """A command without shell syntax is split into words."""
    assert plain_words(command) == words


@pytest.mark.parametrize(
    "command",
    [
        "a | b",
        "a && b",
        "a; b",
        "a > log",
        "a $HOME",
        "a `b`",
        "a *.py",
        "a ~/x",
        "a # b",
        "a\nb",
        "cd x",
        "X=1 a",
        "export X",
        "a '$X'",
        "{ a",
        "! a",
        "a \\b",
        "",
    ],
)
def test_shell_syntax_needs_a_shell(command):
    """A command that would mean something else without a shell is given to one."""
    assert plain_words(command) is None


def test_the_program_is_known_only_without_a_shell():
    """The first word is the program, unless a shell or a placeholder decides."""
    space = of_choices("a", "b")
    programs = [Command(text, space).program for text in ("prog x", "prog x;", "@{--c} x", "@directory/prog")]
    assert programs == ["prog", None, None, None]


def test_appending_to_a_shell_line():
    """Flags are appended, quoted, to a line for the shell; the command itself is left as it is."""
    rendered = Command("cd x && prog '${VAR}'", of_choices("a b", "c")).render({"--c": "a b"}, FACTS)
    assert rendered.argv == ("/bin/sh", "-c", "cd x && prog '${VAR}' '--c=a b'")
    assert rendered.line == rendered.argv[2]


PLACES = {
    "appended": ("", "--c={0}"),
    "bare": ("@{--c}", "{0}"),
    "inside a word": ("a@{--c}b", "a{0}b"),
    "in single quotes": ("'a @{--c} b'", "a {0} b"),
    "in double quotes": ('"a @{--c} b"', "a {0} b"),
    "after other quotes": (""" "it's"'"'@{--c}'@{--c}' """, "it's\"{0}{0}"),
    "in all quotes": ("""'@{--c}'"@{--c}"@{--c}""", "{0}{0}{0}"),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("start", ["", ": ; "], ids=["plain", "shell"])
def test_odd_values_arrive_intact(echo, start, place):
    """Blanks, quotes, newlines, $, backticks and non-ASCII text reach the program unchanged, wherever they stand."""
    text, expected = PLACES[place]
    for value in ("".join(ODD), "".join(ODD[::-1]), ""):
        command = Command(f"{start}{echo} {text}", of_choices(value, "other"))
        assert (command.words is None) == bool(start)
        assert received(command.render({"--c": value}, FACTS)) == [expected.replace("{0}", value)]


def test_each_odd_value_arrives_intact(echo):
    """Each odd value reaches the program unchanged, alone too."""
    flags = [f"-{number}" for number in range(len(ODD))]
    space = Space(
        [Choice(flag, [value, value + "x"], pass_as="flag value") for flag, value in zip(flags, ODD, strict=True)]
    )
    rendered = Command(f": ; {echo}", space).render(dict(zip(flags, ODD, strict=True)), FACTS)
    assert received(rendered)[1::2] == ODD


PRINTF = r"printf '%s\0' "


@settings(deadline=None, max_examples=60)
@given(
    texts,
    st.sampled_from(["@{{--c}}", "'x@{{--c}}y'", '"x@{{--c}}y"', "a@{{--c}}", "'\"'\"'@{{--c}}\"", '"\\""@{{--c}}']),
)
@example("'", "'x@{{--c}}y'")
@example('a"$b', '"x@{{--c}}y"')
def test_any_value_passes_the_shell(value, place):
    """Whatever the value, and in whatever quotation marks it stands, the shell hands it on unchanged."""
    place = place.format()
    rendered = Command(PRINTF + place, of_choices(value, value + "x")).render({"--c": value}, {})
    out = subprocess.run(rendered.argv, check=True, capture_output=True).stdout.decode()
    inside = shlex.split(place.replace("@{--c}", "@"))[0]
    assert out == inside.replace("@", value) + "\0"


@given(texts, texts.filter(str.strip).filter(lambda flag: not set(flag) & set("{}")))
def test_any_value_is_one_word_without_a_shell(value, flag):
    """Whatever the value and the flag, the last word of the flag and the value arrive as one word."""
    *before, last = flag.split()
    assert arguments(of_choices(value, value + "x", flag=flag), {flag: value}) == ("prog", *before, f"{last}={value}")


@given(st.lists(texts, min_size=1, max_size=4))
def test_the_line_to_paste_has_the_same_words(values):
    """The line of a plain command, read by a shell, gives the same words."""
    space = Space([Choice(f"-{i}", [value, value + "x"], pass_as="flag value") for i, value in enumerate(values)])
    rendered = Command("prog", space).render({f"-{i}": value for i, value in enumerate(values)}, FACTS)
    assert tuple(shlex.split(rendered.line)) == rendered.argv


def test_odd_values_arrive_in_the_environment():
    """A value passed as an environment variable arrives unchanged, directly and from the line to paste."""
    value = "".join(ODD)
    space = of_choices(value, "x", flag="KIND", pass_as="environment")
    program = [sys.executable, "-S", "-c", "import os, json; print(json.dumps(os.environ['KIND']))"]
    rendered = Command(shlex.join(program), space).render({"KIND": value}, FACTS)
    assert received(rendered) == value
    pasted = subprocess.run(["/bin/sh", "-c", rendered.line], check=True, capture_output=True)
    assert json.loads(pasted.stdout) == value
