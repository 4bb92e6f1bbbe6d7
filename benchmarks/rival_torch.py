"""The SimpleCNN lesson of PyTorch, as it is taught: torchvision's transforms in two workers, fp32; benchmarks/cifar10.py calls it.

    python rival_torch.py FOLDER EPOCHS

FOLDER holds CIFAR-10 in its binary layout. Prints one JSON line per epoch: seconds and processor seconds (of the workers, too)
since the process began, without those that looking at the test set took, and accuracy on the test set.
"""

import time

# What follows is loaded late on purpose (E402): loading counts.
STARTED = time.time()

import itertools  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.data import DataLoader, Dataset  # noqa: E402
from torchvision import transforms  # noqa: E402


class Pictures(Dataset):
    """CIFAR-10 as torchvision gives it: a PIL picture from an array, then the transform."""

    def __init__(self, paths: list[Path], transform: transforms.Compose) -> None:
        rows = np.concatenate([np.fromfile(path, dtype=np.uint8).reshape(-1, 3073) for path in paths])
        self.pixels = np.ascontiguousarray(rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        self.labels, self.transform = rows[:, 0].astype(int).tolist(), transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[row])), self.labels[row]


class SimpleCNN(nn.Module):
    """Three convolutions of 16, 32 and 64 filters, each with ReLU and pooling; a dense layer of 512."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 16, 32, 64)
        self.body = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
                for a, b in itertools.pairwise(widths)
            )
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(64 * 4 * 4, 512), nn.ReLU(), nn.Linear(512, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))


def main(folder: Path, epochs: int) -> None:
    torch.manual_seed(0)
    plain = [transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)]
    changed = transforms.Compose([transforms.RandomHorizontalFlip(), transforms.RandomRotation(15), *plain])
    train = Pictures([folder / f"data_batch_{number}.bin" for number in range(1, 6)], changed)
    test = Pictures([folder / "test_batch.bin"], transforms.Compose(plain))
    loader = DataLoader(train, batch_size=32, shuffle=True, num_workers=2)
    shown = DataLoader(test, batch_size=500)
    network = SimpleCNN()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=5, gamma=0.1)
    looking = np.zeros(2)
    for epoch in range(epochs):
        network.train()
        for pictures, labels in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(pictures), labels).backward()
            optimizer.step()
        schedule.step()
        before = clocks()
        accuracy = right(network, shown) / len(test)
        seconds, processor = before - looking
        looking += clocks() - before
        told = {"epoch": epoch + 1, "seconds": seconds, "processor": processor, "accuracy": accuracy}
        print(json.dumps(told), flush=True)


def clocks() -> np.ndarray:
    return np.array([time.time() - STARTED, sum(os.times()[:4])])


@torch.no_grad()
def right(network: nn.Module, loader: DataLoader) -> int:
    network.eval()
    return sum(int((network(pictures).argmax(1) == labels).sum()) for pictures, labels in loader)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
