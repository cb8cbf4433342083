"""The network, its training, and the images of a post office."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from flwr.app import Context
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import Tensor, nn

BATCH_SIZE = 32
#: The last part of the images is held out for tests.
TEST_SHARE = 0.25

Images = tuple[Tensor, Tensor]


class Net(nn.Module):
    """A small convolutional network for images of 8 x 8 pixels, with about 6,000 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(128, 10),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


def load_images(context: Context) -> tuple[Images, Images]:
    """Return the images of this post office, for training and for tests.

    They come from the folder ``DATA_DIR``. Without it, for example in ``flwr run``, they are the part of the public data set
    with the number ``partition-id``.
    """
    if folder := os.environ.get("DATA_DIR"):
        with np.load(Path(folder) / "digits.npz") as file:
            pixels, labels = file["pixels"], file["labels"]
    else:
        config = context.node_config
        pixels, labels = partition(int(config["partition-id"]), int(config["num-partitions"]))
    # Pixels are whole numbers from 0 to 16.
    images = torch.tensor(pixels, dtype=torch.float32).unsqueeze(1) / 16
    targets = torch.tensor(labels, dtype=torch.int64)
    split = round(len(targets) * (1 - TEST_SHARE))
    return (images[:split], targets[:split]), (images[split:], targets[split:])


def partition(number: int, of: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the pixels and labels of one part of the digits in scikit-learn."""
    digits = load_digits()
    return digits.images[number::of].astype(np.uint8), digits.target[number::of].astype(np.uint8)


def train_epoch(net: Net, optimizer: torch.optim.Optimizer, images: Images, seed: int) -> float:
    """Train for one pass over the images, in the order of ``seed``, and return the mean loss."""
    total = 0.0
    for pixels, labels in _batches(images, seed):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(pixels), labels)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(labels)
    return total / len(images[1])


@torch.no_grad()
def test(net: Net, images: Images) -> tuple[float, float]:
    """Return the mean loss and the share of correct labels."""
    pixels, labels = images
    scores = net(pixels)
    loss = nn.functional.cross_entropy(scores, labels).item()
    return loss, (scores.argmax(dim=1) == labels).float().mean().item()


def _batches(images: Images, seed: int) -> Iterator[Images]:
    pixels, labels = images
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    for chosen in order.split(BATCH_SIZE):
        yield pixels[chosen], labels[chosen]
