"""A small transformer that sorts digits: attention is a soft look-up, and one can watch where it looks.

    python examples/16_transformer.py

Read `15_convolution.py` first. A convolution looks at neighbours; attention lets every position look at every other
one, and learns where (Vaswani et al., 2017, "Attention is all you need", eq. 1):

    Attention(Q, K, V) = softmax(Q Kᵀ / √d) V

The task is to sort eight digits. Nothing tells the network what "smaller" means: it sees digits as labels, and is told
only which label belongs at each place of the sorted sequence.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

import tinygrad_bc as tg
from tinygrad_bc import draw, nn, optim

LENGTH, DIGITS, WIDTH, BLOCKS = 8, 10, 32, 2
STEPS, BATCH, RATE, UNSEEN = 800, 64, 6e-3, 2000

Array = npt.NDArray[Any]


class Attention(nn.Module):
    """Self-attention from tensor operations; `looks` keeps the softmax, so that one can see it."""

    def __init__(self, width: int, generator: np.random.Generator) -> None:
        self.query, self.key, self.value = (nn.Linear(width, width, generator=generator) for _ in range(3))
        self.looks = np.empty(0)

    def forward(self, x: tg.Tensor) -> tg.Tensor:
        """Let every position of x, (batch, position, width), gather from all of them."""
        Q, K, V = self.query(x), self.key(x), self.value(x)
        A = tg.softmax(Q @ K.mT / np.sqrt(x.shape[-1]), -1)
        self.looks = A.data
        return A @ V


class Block(nn.Module):
    """Attention between the positions, then a small network at each; each added to what came in."""

    def __init__(self, width: int, generator: np.random.Generator) -> None:
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, generator)
        self.network = nn.Sequential(
            nn.Linear(width, 2 * width, generator=generator),
            nn.ReLU(),
            nn.Linear(2 * width, width, generator=generator),
        )

    def forward(self, x: tg.Tensor) -> tg.Tensor:
        """Run the block on x, (batch, position, width)."""
        x = x + self.attention(self.norm1(x))
        return x + self.network(self.norm2(x))


class Transformer(nn.Module):
    """Digits (batch, position) to scores (batch, position, digit)."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.digit = nn.Embedding(DIGITS, WIDTH, generator=generator)
        self.place = nn.Embedding(LENGTH, WIDTH, generator=generator)
        self.blocks = [Block(WIDTH, generator) for _ in range(BLOCKS)]
        self.norm = nn.LayerNorm(WIDTH)
        self.scores = nn.Linear(WIDTH, DIGITS, generator=generator)

    def forward(self, digits: Array) -> tg.Tensor:
        """Score every digit for every place of the sorted sequence."""
        x = self.digit(digits) + self.place(np.arange(LENGTH))
        for block in self.blocks:
            x = block(x)
        return self.scores(self.norm(x))


def train(model: Transformer, generator: np.random.Generator) -> Array:
    """Train on fresh random sequences; return the loss of every step."""
    optimizer = optim.Adam(model.parameters(), lr=RATE)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=RATE, total_steps=STEPS)
    losses = np.empty(STEPS)
    for step in range(STEPS):
        digits = generator.integers(DIGITS, size=(BATCH, LENGTH))
        optimizer.zero_grad()
        loss = tg.cross_entropy(model(digits).reshape(-1, DIGITS), np.sort(digits).ravel())
        loss.backward()
        optimizer.step()
        schedule.step()
        losses[step] = loss.item()
    return losses


def sort(model: Transformer, digits: Array) -> Array:
    """Return what the network takes for the sorted sequences; its attention stays in the blocks."""
    with tg.no_grad():
        return np.asarray(model(digits).data.argmax(-1))


def picture(model: Transformer, losses: Array, sequence: Array) -> Figure:
    """Draw the loss, and where every place of one sequence looks in both blocks."""
    answer = sort(model, sequence[None])[0]
    figure = Figure(figsize=(11, 3.9), layout="constrained")
    curve, *maps = figure.subplots(1, 1 + BLOCKS, width_ratios=[1.1] + [1] * BLOCKS)
    curve.semilogy(losses, color=draw.plots.BLUE)
    curve.set(title="Every step on new random sequences", xlabel="step", ylabel="cross-entropy")
    curve.grid(alpha=0.3)
    for number, (axes, block) in enumerate(zip(maps, model.blocks, strict=True), start=1):
        order = np.argsort(sequence)
        image = axes.imshow(block.attention.looks[0][:, order], cmap="viridis", vmin=0, vmax=1)
        axes.set_xticks(range(LENGTH), [str(digit) for digit in sequence[order]])
        axes.set_yticks(range(LENGTH), [f"{place + 1}: {digit}" for place, digit in enumerate(answer)])
        axes.set(title=f"Attention of block {number}", xlabel="looks at the digit", ylabel="place: answer")
    figure.colorbar(image, ax=maps, label="share of attention")
    figure.suptitle(f"Sorting {' '.join(map(str, sequence))}: in block {BLOCKS}, every place looks for its digit")
    return figure


def main(argv: list[str] | None = None) -> int:
    """Train, test on new sequences, measure where attention looks; return 0 if it looks at the right digit."""
    parser = argparse.ArgumentParser(description="Teach a small transformer to sort.")
    parser.add_argument("--out", type=Path, default=Path("out/16_transformer"), help="folder for pictures")
    out = parser.parse_args(argv).out
    out.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    model = Transformer(generator)
    losses = train(model, generator)
    digits = generator.integers(DIGITS, size=(UNSEEN, LENGTH))
    right = np.sort(digits) == sort(model, digits)
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {STEPS} steps of {BATCH} random sequences")
    print(f"loss: {losses[0]:.3f} at the start (guessing: {np.log(DIGITS):.3f}), {losses[-50:].mean():.4f} at the end")
    print(
        f"of {UNSEEN} new sequences, {right.all(1).mean():.1%} are sorted without a mistake; of their places, "
        f"{right.mean():.2%} are right"
    )

    belongs = digits[:, None, :] == np.sort(digits)[:, :, None]  # (sequence, place, digit that it may look at)
    shares = [float((block.attention.looks * belongs).sum(-1).mean()) for block in model.blocks]
    print("\nHow much of its attention does a place give to the digit that belongs there?")
    for number, share in enumerate(shares, start=1):
        print(f"block {number}: {share:.0%}   (looking everywhere alike: {belongs.mean():.0%})")
    path = draw.save_figure(picture(model, losses, generator.permutation(DIGITS)[:LENGTH]), out / "attention.png")
    print(f"\nwritten: {path}")
    return 0 if shares[-1] > 2 * belongs.mean() else 1


if __name__ == "__main__":
    sys.exit(main())
