"""torchgan's own Trainer on gantool's networks: a contender of train.py where torchgan is installed.

    pip install --no-deps torchgan==0.1.0

It asks for torchvision, which it needs for saving sample grids alone; where that is missing, an empty stand-in will do.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader


def installed() -> bool:
    return importlib.util.find_spec("torchgan") is not None


def train(
    generator: nn.Module, discriminator: nn.Module, latent_dim: int, loader: DataLoader[Any], device: torch.device
) -> Iterator[None]:
    """Each `next` is one iteration as `Trainer.train` makes it, without its logging to files."""
    if "torchvision" not in sys.modules and importlib.util.find_spec("torchvision") is None:
        sys.modules["torchvision"] = types.ModuleType("torchvision")
    from torchgan.losses import MinimaxDiscriminatorLoss, MinimaxGeneratorLoss
    from torchgan.models import Discriminator, Generator
    from torchgan.trainer import Trainer

    class Making(Generator):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(latent_dim)
            self.module = generator

        def forward(self, z: Tensor) -> Tensor:
            return self.module(z)  # type: ignore[no-any-return]

    class Judging(Discriminator):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(0)
            self.module = discriminator

        def forward(self, samples: Tensor) -> Tensor:
            return self.module(samples)  # type: ignore[no-any-return]

    adam = {"name": torch.optim.Adam, "args": {"lr": 2e-4, "betas": (0.5, 0.999)}}
    folder = Path(tempfile.mkdtemp())
    trainer = Trainer(
        {"generator": {"name": Making, "optimizer": adam}, "discriminator": {"name": Judging, "optimizer": adam}},
        [MinimaxGeneratorLoss(), MinimaxDiscriminatorLoss()],
        device=device,
        sample_size=loader.batch_size,
        checkpoints=str(folder / "model" / "gan"),
        recon=str(folder / "images"),
        log_dir=str(folder / "log"),
    )
    trainer.batch_size = loader.batch_size
    trainer.generator.train()
    trainer.discriminator.train()
    while True:
        for real, labels in loader:
            trainer.real_inputs, trainer.labels = real.to(device), labels.to(device)
            found = trainer.train_iter()
            for key, value in zip(
                ("generator_losses", "discriminator_losses", "generator_iters", "discriminator_iters"),
                found,
                strict=True,
            ):
                trainer.loss_information[key] += value
            yield
