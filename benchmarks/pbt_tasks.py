"""The trainings of the population based training benchmark: a small network in NumPy that can go on where it stopped.

    OMP_NUM_THREADS=1 CRAYAI_SEED=5 python benchmarks/pbt_tasks.py --task=digits --split=1 --epochs=3 --lr=0.1 \
        --momentum=0.9 --decay=1e-4 --dropout=0.1 --batch=32 --load=old --save=new

One hidden layer after another, momentum SGD in mini-batches with dropout and weight decay, all in float32. The figure
of merit is the error on validation data, with a share of the cross entropy that only breaks ties. The error on test
data, which no search sees, stands on a line before it. This file needs neither crayai nor Ray.
"""

import argparse
import math
import os
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")  # NumPy reads this when it is imported
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits, make_classification
from sklearn.model_selection import train_test_split

Array = NDArray[np.float32]
Labels = NDArray[np.int64]

HIDDEN = (64, 64)
TIE = 1e-4
"""Share of the cross entropy in the figure of merit; one validation example counts for more."""
MOST_ENTROPY = 5.0
RANGES: dict[str, tuple[float, float, str]] = {
    "lr": (1e-4, 1.0, "log"),
    "momentum": (0.0, 0.99, "linear"),
    "decay": (1e-6, 0.1, "log"),
    "dropout": (0.0, 0.8, "linear"),
    "batch": (16, 256, "log int"),
}
"""What is searched: lowest and highest value, and the scale. There are no defaults: nobody knows more than this."""


class Task(NamedTuple):
    """Where the examples of a task come from, and how many there are for what."""

    make: Any
    train: int
    validation: int
    test: int


def digits(_seed: int) -> Any:
    """Return the 1797 handwritten digits that come with scikit-learn."""
    images, labels = load_digits(return_X_y=True)
    return images / 16, labels


def noisy(seed: int) -> Any:
    """Return a made classification: 100 features of which 20 count, every tenth label drawn anew."""
    return make_classification(
        n_samples=6000, n_features=100, n_informative=20, n_redundant=20, n_classes=4, n_clusters_per_class=2,
        flip_y=0.1, random_state=seed,
    )  # fmt: skip


TASKS = {"digits": Task(digits, 599, 599, 599), "noisy": Task(noisy, 1000, 1000, 4000)}


@dataclass(frozen=True)
class Part:
    """Examples, one a row, with their labels."""

    inputs: Array
    labels: Labels


class Parts(NamedTuple):
    """The examples of a task, divided."""

    train: Part
    validation: Part
    test: Part


@cache
def parts(task: str, split: int) -> Parts:
    """Return the examples of a task, divided as `split` says, and scaled by what the training part knows."""
    make, *sizes = TASKS[task]
    inputs, labels = make(split)
    train_size, validation_size, test_size = sizes
    rest_in, test_in, rest, test = train_test_split(
        inputs, labels, test_size=test_size, random_state=split, stratify=labels
    )
    train_in, validation_in, train, validation = train_test_split(
        rest_in, rest, train_size=train_size, test_size=validation_size, random_state=split, stratify=rest
    )
    mean, deviation = train_in.mean(0), train_in.std(0) + 1e-2
    pairs = ((train_in, train), (validation_in, validation), (test_in, test))
    return Parts(*(Part(((x - mean) / deviation).astype(np.float32), y.astype(np.int64)) for x, y in pairs))


@dataclass
class Model:
    """A network in training: weights and biases layer by layer, and their velocities."""

    weights: list[Array]
    velocities: list[Array]

    @classmethod
    def fresh(cls, sizes: list[int], rng: np.random.Generator) -> "Model":
        """Return a network that has learned nothing (He et al. 2015)."""
        weights: list[Array] = []
        for before, after in pairwise(sizes):
            weights.append(rng.standard_normal((before, after), np.float32) * np.float32(math.sqrt(2 / before)))
            weights.append(np.zeros(after, np.float32))
        return cls(weights, [np.zeros_like(w) for w in weights])

    def copy(self) -> "Model":
        """Return one that trains on by itself."""
        return Model([w.copy() for w in self.weights], [v.copy() for v in self.velocities])

    def save(self, path: Path) -> None:
        """Write to a file of just this name."""
        with path.open("wb") as file:
            np.savez(file, *self.weights, *self.velocities)

    @classmethod
    def load(cls, path: Path) -> "Model":
        """Read what `save` has written."""
        with np.load(path) as file:
            arrays = [file[name] for name in file.files]
        half = len(arrays) // 2
        return cls(arrays[:half], arrays[half:])


@dataclass(frozen=True)
class Scores:
    """How good a network is; the figure of merit is not a number where the training diverged."""

    fom: float
    test_error: float


def fresh(task: str, split: int, seed: int) -> Model:
    """Return an untrained network for a task."""
    data = parts(task, split).train
    sizes = [data.inputs.shape[1], *HIDDEN, int(data.labels.max()) + 1]
    return Model.fresh(sizes, np.random.default_rng([seed, 0]))


def train(model: Model, task: str, split: int, seed: int, epochs: int, values: dict[str, Any]) -> Scores:
    """Train `model` in place for some epochs, and return its scores."""
    data, rng = parts(task, split).train, np.random.default_rng([seed, 1])
    batch = int(values["batch"])
    with np.errstate(all="ignore"):
        for _ in range(epochs):
            order = rng.permutation(len(data.labels))
            for start in range(0, len(order), batch):
                rows = order[start : start + batch]
                _step(model, data.inputs[rows], data.labels[rows], values, rng)
            if not np.isfinite(model.weights[-1]).all():
                return Scores(math.nan, math.nan)
        return scores(model, task, split)


def _step(model: Model, inputs: Array, labels: Labels, values: dict[str, Any], rng: np.random.Generator) -> None:
    """Go one step down the slope of the loss of a batch."""
    gradients = _gradients(model, inputs, labels, float(values["dropout"]), rng)
    lr, momentum, decay = (np.float32(values[name]) for name in ("lr", "momentum", "decay"))
    for i, (weight, velocity) in enumerate(zip(model.weights, model.velocities, strict=True)):
        gradient = gradients[i] + decay * weight if i % 2 == 0 else gradients[i]
        np.multiply(velocity, momentum, out=velocity)
        np.subtract(velocity, lr * gradient, out=velocity)
        np.add(weight, velocity, out=weight)


def _gradients(model: Model, inputs: Array, labels: Labels, dropout: float, rng: np.random.Generator) -> list[Array]:
    """Return the slope of the mean cross entropy along each array, with some neurons left out."""
    weights, keep = model.weights, np.float32(1 - dropout)
    activations, masks = [inputs], []
    for i in range(0, len(weights) - 2, 2):
        hidden = np.maximum(activations[-1] @ weights[i] + weights[i + 1], 0)
        mask = (rng.random(hidden.shape, np.float32) < keep) / keep
        masks.append(mask)
        activations.append(hidden * mask)
    delta = _softmax(activations[-1] @ weights[-2] + weights[-1])
    delta[np.arange(len(labels)), labels] -= 1
    delta /= np.float32(len(labels))
    gradients: list[Array] = []
    for i in range(len(weights) - 2, -1, -2):
        gradients[:0] = [activations[i // 2].T @ delta, delta.sum(0)]
        if i:
            delta = (delta @ weights[i].T) * masks[i // 2 - 1] * (activations[i // 2] > 0)
    return gradients


def _softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    probabilities: Array = powers / powers.sum(1, keepdims=True)
    return probabilities


def scores(model: Model, task: str, split: int) -> Scores:
    """Return how good a network is on what it was not trained with."""
    _, validation, test = parts(task, split)
    error, entropy = _errors(model, validation)
    return Scores(error + TIE * min(entropy, MOST_ENTROPY), _errors(model, test)[0])


def _errors(model: Model, part: Part) -> tuple[float, float]:
    """Return the share of wrong answers, and the cross entropy."""
    values = part.inputs
    for i in range(0, len(model.weights) - 2, 2):
        values = np.maximum(values @ model.weights[i] + model.weights[i + 1], 0)
    probabilities = _softmax(values @ model.weights[-2] + model.weights[-1])
    right = probabilities[np.arange(len(part.labels)), part.labels]
    entropy = float(-np.log(np.maximum(right, 1e-30)).mean())
    return float((probabilities.argmax(1) != part.labels).mean()), entropy


def main() -> None:
    """Train for a window, as a program that crayai runs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--task", choices=TASKS, required=True)
    parser.add_argument("--split", type=int, required=True, help="decides how the examples are divided")
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--load", type=Path, required=True, help="the model to go on with, if it is there")
    parser.add_argument("--save", type=Path, required=True)
    for name, (_, _, scale) in RANGES.items():
        parser.add_argument(f"--{name}", type=int if "int" in scale else float, required=True)
    given = parser.parse_args()
    seed = int(os.environ.get("CRAYAI_SEED", "0"))
    model = Model.load(given.load) if given.load.exists() else fresh(given.task, given.split, seed)
    result = train(model, given.task, given.split, seed, given.epochs, {name: getattr(given, name) for name in RANGES})
    model.save(given.save)
    print(f"test error: {result.test_error!r}")
    print(f"FoM: {result.fom!r}")


if __name__ == "__main__":
    main()
