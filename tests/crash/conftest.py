"""The crash tests and the benchmark that kills for hours are one program: this makes it importable."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
