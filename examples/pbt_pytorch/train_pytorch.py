"""Train a small PyTorch network on handwritten digits for one window; print its error on images it has not seen.

Population based training calls this program once a window. It trains on from the checkpoint at --load, where there is
one, with the hyperparameters of the command line, and writes the checkpoint of this window to --save. The data come
with scikit-learn, and are always split in the same way.
"""

import argparse
import os
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

SPLIT_SEED = 0
BATCH = 32
PIXELS = 64
DIGITS = 10


def hyperparameters() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--load", type=Path, help="the checkpoint to train on from; if it is not there, start anew")
    parser.add_argument("--save", type=Path, help="where to write the checkpoint")
    parser.add_argument("--lr", type=float, default=0.05, help="step size")
    parser.add_argument("--momentum", type=float, default=0.5)
    parser.add_argument("--weight-decay", type=float, default=1e-4)
    parser.add_argument("--dropout", type=float, default=0.1, help="share of the neurons that a step leaves out")
    parser.add_argument("--hidden", type=int, default=32, help="neurons in each of the two hidden layers")
    parser.add_argument("--epochs-per-window", type=int, default=1, help="passes over the training data")
    return parser.parse_args()


def make_network(hidden: int, dropout: float) -> Any:
    """Return a network with fresh weights."""
    return nn.Sequential(
        nn.Linear(PIXELS, hidden), nn.ReLU(), nn.Dropout(dropout),
        nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout),
        nn.Linear(hidden, DIGITS),
    )  # fmt: skip


def load(path: Path, network: Any, optimizer: Any, given: argparse.Namespace) -> None:
    """Go on from the checkpoint at `path`, with the hyperparameters of the command line."""
    checkpoint = torch.load(path, weights_only=True)
    if checkpoint["hidden"] != given.hidden:
        raise SystemExit(
            f"{path} is of a network with --hidden={checkpoint['hidden']}, not {given.hidden}; "
            "in the study file, --hidden must be structural = true"
        )
    network.load_state_dict(checkpoint["network"])
    optimizer.load_state_dict(checkpoint["optimizer"])
    # The most common bug of population based training: the state of the optimizer holds its hyperparameters too, so
    # that loading it brings back those of the window before, and what is searched for is not used. Set them anew.
    for group in optimizer.param_groups:
        group["lr"] = given.lr
        group["momentum"] = given.momentum
        group["weight_decay"] = given.weight_decay


def save(path: Path, network: Any, optimizer: Any, given: argparse.Namespace) -> None:
    """Write the checkpoint: whoever finds it at `path` finds the whole of it."""
    checkpoint = {"hidden": given.hidden, "network": network.state_dict(), "optimizer": optimizer.state_dict()}
    unfinished = f"{path}.part"
    torch.save(checkpoint, unfinished)
    Path(unfinished).replace(path)


def train(network: Any, optimizer: Any, images: Any, digits: Any) -> None:
    """Pass once over the data, in random order."""
    network.train()
    for batch in torch.randperm(len(images)).split(BATCH):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images[batch]), digits[batch]).backward()
        optimizer.step()


def error(network: Any, images: Any, digits: Any) -> float:
    """Return the share of the images that the network misreads."""
    network.eval()
    with torch.no_grad():
        return float((network(images).argmax(dim=1) != digits).float().mean())


def main() -> None:
    """Train for one window, save, and print the figure of merit last."""
    given = hyperparameters()
    torch.set_num_threads(1)  # one core an evaluation
    # No random state is in the checkpoint: two members that train on from the same one see the data in other orders.
    torch.manual_seed(int(os.environ.get("CRAYAI_SEED", "0")))
    images, digits = load_digits(return_X_y=True)
    images, digits = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(digits)
    known, test = train_test_split(torch.arange(len(digits)), test_size=0.2, random_state=SPLIT_SEED, stratify=digits)
    training, validation = train_test_split(known, test_size=0.25, random_state=SPLIT_SEED, stratify=digits[known])

    network = make_network(given.hidden, given.dropout)
    optimizer = torch.optim.SGD(
        network.parameters(), lr=given.lr, momentum=given.momentum, weight_decay=given.weight_decay
    )
    if given.load and given.load.exists():
        load(given.load, network, optimizer, given)
    for _ in range(given.epochs_per_window):
        train(network, optimizer, images[training], digits[training])
    if given.save:
        save(given.save, network, optimizer, given)
    print(f"test error: {error(network, images[test], digits[test]):.4f}")
    print(f"FoM: {error(network, images[validation], digits[validation]):.6f}")


if __name__ == "__main__":
    main()
