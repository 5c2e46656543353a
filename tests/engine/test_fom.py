"""The figure of merit is found in whatever a program prints."""

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crayai.hpo.engine.fom import last_fom, tail


@pytest.fixture
def fom(tmp_path):
    """Return a function that finds the figure of merit in a text."""

    def find(text, marker="FoM: "):
        path = tmp_path / "0.1.out"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return last_fom(str(path), marker)

    return find


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("FoM: 0.5\n", 0.5),
        ("FoM: 0.5", 0.5),
        ("FoM:0.5\n", 0.5),
        ("FoM:\t 0.5\r\n", 0.5),
        ("FoM: = 0.5\n", 0.5),
        ("FoM: -1.5e-03\n", -1.5e-3),
        ("FoM: +.5E+2 (best)\n", 50.0),
        ("FoM: 3.\n", 3.0),
        ("FoM: 12\n", 12.0),
        ("FoM: 1.5D-03\n", 1.5e-3),
        ("FoM: np.float64(0.5)\n", 0.5),
        ("FoM: tensor(0.5, device='cuda:0')\n", 0.5),
        ("FoM: [0.5]\n", 0.5),
        ("FoM: [[ 0.5 ]]\n", 0.5),
        ("FoM: array([0.5])\n", 0.5),
        ("epoch 3, FoM: 0.5, 12 s\n", 0.5),
        ("[rank 0] FoM: 0.5\n", 0.5),
        ("FoM: inf\n", math.inf),
        ("FoM: -Infinity\n", -math.inf),
        ("FoM: 1e999\n", math.inf),
    ],
)
def test_numbers_as_programs_print_them(fom, text, number):
    """A number is read in every usual way of printing one, with or without blanks."""
    assert fom(text) == number


@pytest.mark.parametrize("text", ["FoM: nan\n", "FoM: -NaN\n", "FoM: np.float32(nan)\n"])
def test_not_a_number(fom, text):
    """Not a number is found as such, for it is another cause of failure than nothing at all."""
    assert math.isnan(fom(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "0.5\n",
        "FoM: none\n",
        "FoM: \n0.5\n",
        "FoM: nano\n",
        "FoM: information\n",
        "fom: 0.5\n",
        "FoM: -\n",
        "FoM",
    ],
)
def test_no_number(fom, text):
    """Without a marker, or without a number behind it on its line, there is no figure of merit."""
    assert fom(text) is None


def test_no_file(tmp_path):
    """Where there is no output there is no figure of merit."""
    assert last_fom(str(tmp_path / "nothing.out"), "FoM: ") is None


def test_the_last_number_counts(fom):
    """Of several lines the last one with a number counts, whatever follows."""
    assert fom("FoM: 3\nFoM: 2\nFoM: 1\nFoM: none\nbye\n") == 1.0


def test_lines_of_ranks(fom):
    """Lines that several ranks wrote into each other are found."""
    assert fom("0: FoM: 0.75\n2: FoM: 0.5 1: FoM: 0.25\n3: done\n") == 0.25


@pytest.mark.parametrize("marker", ["loss (val) [*]:", "a+b|c?", r"\d+ =", "^FoM$", "größe: ", "acc{2}", "."])
def test_a_marker_is_taken_literally(fom, marker):
    """No character of the marker has a meaning of its own."""
    assert fom(f"12 = 7\nFoM 8\n{marker} 0.25\nFoM 9\n", marker) == 0.25


def test_a_marker_needs_no_blank(fom):
    """A marker with or without blanks finds lines with or without blanks."""
    for marker in ("FoM:", "FoM: ", " FoM:  "):
        for line in ("FoM:0.5", "FoM: 0.5", "FoM:   0.5"):
            assert fom(line, marker) == 0.5


def test_binary_output_does_no_harm(fom):
    """Bytes that are no text are passed over."""
    assert fom(b"\xff\xfe\x00FoM: 0.5\xc3\n\x80") == 0.5


def test_a_huge_output_is_read_from_its_end(tmp_path):
    """Of an output of a terabyte, sparse on the disk, only the end is read."""
    path = tmp_path / "0.1.out"
    with path.open("wb") as file:
        file.write(b"FoM: 1\n")
        file.truncate(1 << 40)
        file.seek(0, 2)
        file.write(b"\nFoM: 2\n" + b"x" * 100_000)
    assert last_fom(str(path), "FoM: ") == 2.0


@pytest.mark.parametrize("chunk", [1 << 16, 1 << 17])
@pytest.mark.parametrize("shift", range(-14, 3))
def test_a_line_across_the_boundary_of_chunks(fom, chunk, shift):
    """Wherever the boundary between two reads cuts the line, marker and number come out whole."""
    line = b"FoM: 123.456"
    rest = chunk + shift
    assert fom(b"FoM: 9\n" + b"y" * 200_000 + b"\n" + line + b"\n" + b"z" * (rest - 1)) == 123.456


def test_the_last_number_counts_across_chunks(fom):
    """A number in a later chunk comes before one in an earlier chunk."""
    assert fom("FoM: 1\n" + "x" * 300_000 + "\nFoM: 2\n" + "x" * 100_000 + "\nFoM: none\n") == 2.0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, print_blob=True)
@given(
    number=st.floats(allow_nan=False, allow_infinity=False),
    form=st.sampled_from(
        ["FoM: %e", "FoM: %r", "FoM: %.3f", "FoM: %.17g", "FoM: [%e]", "FoM: np.float64(%r)", "rank FoM: %E x"]
    ),
    before=st.text(alphabet=st.characters(exclude_categories=["Cs"])),
    after=st.text(alphabet="abc 123\n"),
)
def test_what_was_printed_is_found(fom, number, form, before, after):
    """Whatever stands around it, a printed figure of merit is read as Python reads the printed number."""
    printed = form % number
    digits = printed.split("(")[-1].split("[")[-1].removeprefix("rank ").removeprefix("FoM: ").rstrip(")] x")
    assert fom(f"{before}\n{printed}\n{after}") == float(digits)


def test_the_last_words_of_a_program(tmp_path):
    """The tail has the last lines, without blank ones at the end; a missing file has none."""
    path = tmp_path / "0.1.err"
    path.write_bytes(b"x" * 200_000 + b"\n" + b"".join(b"line %d\n" % n for n in range(40)) + b"\xff\n\n")
    assert tail(str(path)).splitlines() == [*(f"line {n}" for n in range(26, 40)), "\N{REPLACEMENT CHARACTER}"]
    assert tail(str(tmp_path / "nothing.err")) == ""
