"""Two arrays side by side: how far apart, and where most."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

# Elements turned to float64 at a time: 32 MB a copy, so that a large output costs no second one.
CHUNK_ELEMENTS = 2**22


@dataclass(frozen=True)
class Difference:
    """The errors of `Tolerance`, and the element that is furthest off (None where there are no elements)."""

    relative: float
    worst: float
    place: tuple[int, int] | None
    expected: float
    actual: float


def difference(actual: torch.Tensor, expected: torch.Tensor) -> Difference:
    """Compare actual with expected, both [rows, columns] on one device, finite; arithmetic in float64.

    Where expected is zero everywhere, an actual that is not gives infinite errors.
    """
    square_sum = sum(float(expected[start:end].double().square().sum()) for start, end in _chunks(expected))
    rms = math.sqrt(square_sum / max(1, expected.numel()))
    error_squares = largest = 0.0
    place: tuple[int, int] | None = None
    for start, end in _chunks(expected):
        reference = expected[start:end].double()
        error = (actual[start:end].double() - reference).abs_()
        error_squares += float(error.square().sum())
        error /= reference.square().mean(dim=1, keepdim=True).sqrt_().clamp_(min=rms or 1e-300)
        index = int(error.argmax())
        here = float(error.view(-1)[index])
        if place is None or here > largest:
            largest, place = here, (start + index // expected.shape[1], index % expected.shape[1])
    if place is None:
        return Difference(0.0, 0.0, None, 0.0, 0.0)
    return Difference(
        relative=_ratio(math.sqrt(error_squares), math.sqrt(square_sum)),
        worst=largest,
        place=place,
        expected=float(expected[place]),
        actual=float(actual[place]),
    )


def not_finite(values: torch.Tensor) -> tuple[int, tuple[int, int]] | None:
    """None, or how many elements of values [rows, columns] are NaN or infinite, and the first one's place."""
    count, first = 0, None
    for start, end in _chunks(values):
        bad = ~torch.isfinite(values[start:end])
        here = int(bad.sum())
        if here and first is None:
            index = int(bad.view(-1).to(torch.uint8).argmax())
            first = (start + index // values.shape[1], index % values.shape[1])
        count += here
    return None if first is None else (count, first)


def _chunks(values: torch.Tensor) -> Iterator[tuple[int, int]]:
    rows, columns = values.shape
    step = max(1, CHUNK_ELEMENTS // max(1, columns))
    for start in range(0, rows if columns else 0, step):
        yield start, min(start + step, rows)


def _ratio(error: float, size: float) -> float:
    if error == 0:
        return 0.0
    return error / size if size else math.inf
