"""Train a small Keras network on handwritten digits for one window; print its error on images it has not seen.

Population based training calls this program once a window. There is one directory for loading and saving: if it holds
a model, the program trains on from that, with the hyperparameters of the command line; then it writes its own there.
"""

import argparse
import os
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # what TensorFlow tells of itself; read when it is imported
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"  # the same sums in the same order
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SPLIT_SEED = 0
BATCH = 32
PIXELS = 64
DIGITS = 10


def hyperparameters() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output-dir", type=Path, required=True, help="where the model is loaded from and saved to")
    parser.add_argument("--lr", type=float, default=0.05, help="step size")
    parser.add_argument("--momentum", type=float, default=0.5)
    parser.add_argument("--dropout", type=float, default=0.1, help="share of the neurons that a step leaves out")
    parser.add_argument("--hidden", type=int, default=32, help="neurons in the hidden layer")
    parser.add_argument("--epochs-per-window", type=int, default=3, help="passes over the training data")
    return parser.parse_args()


def new_model(given: argparse.Namespace) -> Any:
    """Return a compiled model with fresh weights."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input([PIXELS]),
            layers.Dense(given.hidden, activation="relu"),
            layers.Dropout(given.dropout, name="dropout"),
            layers.Dense(DIGITS, activation="softmax"),
        ]
    )
    # Where the momentum is 0 Keras keeps no velocities, and a later window that has one would fail.
    optimizer = keras.optimizers.SGD(given.lr, momentum=max(given.momentum, 1e-9))
    model.compile(optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def loaded_model(path: Path, given: argparse.Namespace) -> Any:
    """Return the model at `path`, to be trained with the hyperparameters of the command line."""
    model = keras.models.load_model(path)
    # The file holds the state of the optimizer, and so the hyperparameters of the window before: set them anew, or
    # what is searched for is not used.
    model.optimizer.learning_rate = given.lr
    model.optimizer.momentum = given.momentum
    model.get_layer("dropout").rate = given.dropout
    return model


def save(model: Any, path: Path) -> None:
    """Write the model: whoever finds it at `path` finds the whole of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"unfinished_{path.name}")  # Keras goes by how the name ends
    model.save(unfinished)
    unfinished.replace(path)


def main() -> None:
    """Train for one window, save, and print the figure of merit last."""
    given = hyperparameters()
    tf.config.threading.set_intra_op_parallelism_threads(1)  # one core an evaluation
    tf.config.threading.set_inter_op_parallelism_threads(1)
    images, digits = load_digits(return_X_y=True)
    known, test_images, known_digits, test_digits = train_test_split(
        images / 16, digits, test_size=0.2, random_state=SPLIT_SEED, stratify=digits
    )
    train_images, validation_images, train_digits, validation_digits = train_test_split(
        known, known_digits, test_size=0.25, random_state=SPLIT_SEED, stratify=known_digits
    )
    keras.utils.set_random_seed(int(os.environ.get("CRAYAI_SEED", "0")))
    path = given.output_dir / "model.keras"
    model = loaded_model(path, given) if path.exists() else new_model(given)
    model.fit(train_images, train_digits, batch_size=BATCH, epochs=given.epochs_per_window, verbose=0)
    save(model, path)
    print(f"test error: {1 - model.evaluate(test_images, test_digits, verbose=0)[1]:.4f}")
    print(f"FoM: {1 - model.evaluate(validation_images, validation_digits, verbose=0)[1]:.6f}")


if __name__ == "__main__":
    main()
