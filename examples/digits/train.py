"""Train a small neural network on handwritten digits; print its error on images that it has not seen.

The data, 1797 images of 8 by 8 pixels, come with scikit-learn. They are always split in the same way; only the
first weights and the order of the batches depend on the seed, which crayai hands over in CRAYAI_SEED.
"""

import argparse
import os
import warnings

os.environ["OMP_NUM_THREADS"] = "1"  # one core an evaluation; NumPy reads this when it is imported

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

SPLIT_SEED = 0


def hyperparameters() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lr", type=float, default=0.01, help="the first step size")
    parser.add_argument("--width", type=int, default=32, help="neurons in each hidden layer")
    parser.add_argument("--depth", type=int, default=2, help="hidden layers")
    parser.add_argument("--activation", choices=["relu", "tanh", "logistic"], default="relu")
    parser.add_argument("--alpha", type=float, default=1e-4, help="strength of the L2 penalty")
    parser.add_argument("--solver", choices=["sgd", "adam"], default="sgd")
    parser.add_argument("--momentum", type=float, default=0.5, help="of sgd; adam has none")
    parser.add_argument("--epochs", type=int, default=12, help="passes over the training data")
    return parser.parse_args()


def main() -> None:
    """Train once and print the figure of merit last."""
    given = hyperparameters()
    images, digits = load_digits(return_X_y=True)
    images /= 16.0
    known, test_images, known_digits, test_digits = train_test_split(
        images, digits, test_size=0.2, random_state=SPLIT_SEED, stratify=digits
    )
    train_images, validation_images, train_digits, validation_digits = train_test_split(
        known, known_digits, test_size=0.25, random_state=SPLIT_SEED, stratify=known_digits
    )
    network = MLPClassifier(
        hidden_layer_sizes=(given.width,) * given.depth,
        activation=given.activation,
        solver=given.solver,
        alpha=given.alpha,
        batch_size=32,
        learning_rate_init=given.lr,
        momentum=given.momentum,
        max_iter=given.epochs,
        random_state=int(os.environ.get("CRAYAI_SEED", "0")),
    )
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", ConvergenceWarning)  # a few epochs are the plan
        network.fit(train_images, train_digits)
    print(f"test error: {1 - network.score(test_images, test_digits):.4f}")
    print(f"FoM: {1 - network.score(validation_images, validation_digits):.6f}")


if __name__ == "__main__":
    main()
