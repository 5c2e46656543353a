"""Train a linear classifier of scikit-learn on handwritten digits for one window; print its accuracy.

Population based training calls this program once a window. It trains on from the classifier at --load, where there is
one, with the hyperparameters of the command line, and writes it to --save.
"""

import argparse
import os
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # one core an evaluation; NumPy reads this when it is imported

import joblib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split

SPLIT_SEED = 0


def hyperparameters() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--load", type=Path, help="the classifier to train on from; if it is not there, start anew")
    parser.add_argument("--save", type=Path, help="where to write the classifier")
    parser.add_argument("--eta0", type=float, default=0.01, help="step size")
    parser.add_argument("--alpha", type=float, default=1e-4, help="strength of the penalty")
    parser.add_argument("--loss", choices=["hinge", "log_loss", "modified_huber"], default="modified_huber")
    parser.add_argument("--epochs-per-window", type=int, default=3, help="passes over the training data")
    return parser.parse_args()


def classifier(given: argparse.Namespace) -> Any:
    """Return the classifier to train: the one at --load, or a new one."""
    model = SGDClassifier(learning_rate="constant", shuffle=False)
    if given.load and given.load.exists():
        model = joblib.load(given.load)
    # What was pickled are the hyperparameters of the window before too: without this line they would be used for ever.
    return model.set_params(eta0=given.eta0, alpha=given.alpha, loss=given.loss)


def save(path: Path, model: Any) -> None:
    """Write the classifier: whoever finds it at `path` finds the whole of it."""
    unfinished = f"{path}.part"
    joblib.dump(model, unfinished)
    Path(unfinished).replace(path)


def main() -> None:
    """Train for one window, save, and print the figure of merit last."""
    given = hyperparameters()
    images, digits = load_digits(return_X_y=True)
    known, test_images, known_digits, test_digits = train_test_split(
        images / 16, digits, test_size=0.2, random_state=SPLIT_SEED, stratify=digits
    )
    train_images, validation_images, train_digits, validation_digits = train_test_split(
        known, known_digits, test_size=0.25, random_state=SPLIT_SEED, stratify=known_digits
    )
    model = classifier(given)
    random = np.random.default_rng(int(os.environ.get("CRAYAI_SEED", "0")))
    for _ in range(given.epochs_per_window):
        order = random.permutation(len(train_digits))
        model.partial_fit(train_images[order], train_digits[order], classes=np.arange(10))
    if given.save:
        save(given.save, model)
    print(f"test accuracy: {model.score(test_images, test_digits):.4f}")
    print(f"accuracy: {model.score(validation_images, validation_digits):.6f}")


if __name__ == "__main__":
    main()
