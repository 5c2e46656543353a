"""Compare a polynomial a + b x + ... + g x^6 with the sine from -pi to pi; the flags -a to -g are its coefficients.

Nothing is trained here: an evaluation is over at once, which makes this a program to try search strategies on.
"""

import argparse
import math
from collections.abc import Sequence

NAMES = "abcdefg"
STEP = 0.1


def coefficients() -> list[float]:
    """Read the command line; what is not given is 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    for power, name in enumerate(NAMES):
        parser.add_argument(f"-{name}", type=float, default=0.0, help=f"coefficient of x^{power}")
    given = vars(parser.parse_args())
    return [given[name] for name in NAMES]


def polynomial(factors: Sequence[float], x: float) -> float:
    """Return the value at `x`, by Horner's rule."""
    value = 0.0
    for factor in reversed(factors):
        value = value * x + factor
    return value


def squared_error(factors: Sequence[float]) -> float:
    """Return the sum of the squared distances to the sine."""
    points = [-math.pi + STEP * i for i in range(math.floor(2 * math.pi / STEP) + 1)]
    return sum((polynomial(factors, x) - math.sin(x)) ** 2 for x in points)


if __name__ == "__main__":
    print(f"FoM: {squared_error(coefficients()):e}")
