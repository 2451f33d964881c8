"""How often the interval at an optional stop misses the true ratio, and how often the wrong one is called faster.

    python tests/bench/timing/stopping_study.py [REPEATS]

prints a row for each noise and true ratio, for the rule and, in brackets, for the naive one. The times are simulated,
but for those of one implementation against itself in tests/bench/comparison/data, which are played from anywhere on and
go on at their start. All seeds are fixed.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mohge.bench.timing import median_interval, ratio_interval, stopping
from mohge.bench.timing.stopping import Series, Stopping

RECORDED = Path(__file__).parents[1] / "comparison" / "data" / "a_against_a.json"
Pair = NDArray[np.float64]  # float[2, rounds], logarithms of times of both
Noise = Callable[[np.random.Generator, int], Pair]


def independent(generator: np.random.Generator, rounds: int, spread: float = 0.01) -> Pair:
    return spread * generator.standard_normal((2, rounds))


def heavy(generator: np.random.Generator, rounds: int) -> Pair:
    """A sample in twelve takes longer, by 15 % in the mean."""
    late = generator.random((2, rounds)) < 1 / 12
    return independent(generator, rounds, 0.006) + late * generator.exponential(0.15, (2, rounds))


def dependent(generator: np.random.Generator, rounds: int, correlation: float) -> Pair:
    """Each has a drift of its own: samples of successive rounds correlate so much."""
    return np.stack([_drift(generator, rounds, correlation, 0.01) for _ in range(2)])


def common(generator: np.random.Generator, rounds: int) -> Pair:
    """A slow drift of the clock, which hits both, under noise that does not."""
    return _drift(generator, rounds, 0.98, 0.02) + independent(generator, rounds, 0.008)


def stretches(generator: np.random.Generator, rounds: int) -> Pair:
    """Each is slowed by 3 % for about 15 rounds in a row, every 55 or so."""
    pair = independent(generator, rounds, 0.006)
    for times in pair:
        at = int(generator.exponential(40))
        while at < rounds:
            length = 1 + int(generator.exponential(15))
            times[at : at + length] += 0.03
            at += length + int(generator.exponential(40))
    return pair


def recorded(generator: np.random.Generator, rounds: int, kind: str) -> Pair:
    """Two copies of one implementation, in the same process."""
    pairs = _recorded(kind)
    pair = pairs[generator.integers(len(pairs))]
    places = (generator.integers(pair.shape[1]) + np.arange(rounds)) % pair.shape[1]
    return pair[:: generator.choice([1, -1]), places]


RATIOS = (1.0, 1.005, 1.01, 1.02)
NOISES: dict[str, Noise] = {
    "independent": independent,
    "independent, 5 %": partial(independent, spread=0.05),
    "heavy tail": heavy,
    "common drift": common,
    "own drift, 0.5": partial(dependent, correlation=0.5),
    "own drift, 0.7": partial(dependent, correlation=0.7),
    "slow stretches": stretches,
    "recorded, 160": partial(recorded, kind="runs"),
    "recorded, 800": partial(recorded, kind="long"),
}


@dataclass(frozen=True)
class Rates:
    """rounds: the mean at the stop. Shares of all measurements: the interval of the ratio, or of the baseline's median,
    does not hold the true one; the slower one (either, where they are equal) is called faster.
    """

    rounds: float
    ratio_missed: float
    median_missed: float
    wrong_winner: float


def rates(noise: Noise, ratio: float, limits: tuple[int, int], repeats: int, seed: int = 20260422) -> Rates:
    """Of measurements of two calls whose true times differ by `ratio`, ended by the rule or at limits[1] rounds."""
    generator = np.random.default_rng(seed)
    found = np.array([_measured(noise(generator, limits[1]), ratio, limits) for _ in range(repeats)])
    return Rates(*(float(mean) for mean in found.mean(axis=0)))


@contextmanager
def naive() -> Iterator[None]:
    """Within the block, any interval that is narrow enough, or decides, ends a measurement."""
    before = stopping.LEAST_BLOCKS, stopping.FIRST_LOOK, stopping.WIDER
    stopping.LEAST_BLOCKS, stopping.FIRST_LOOK, stopping.WIDER = 0, 0, 1.0
    try:
        yield
    finally:
        stopping.LEAST_BLOCKS, stopping.FIRST_LOOK, stopping.WIDER = before


def _measured(pair: Pair, ratio: float, limits: tuple[int, int]) -> tuple[float, bool, bool, bool]:
    """One measurement: rounds, and whether it went wrong in each of the ways of `Rates`."""
    a, b = np.exp(pair[0]), np.exp(pair[1]) * ratio
    rule = Stopping(math.inf, limits, 5, 0.01, "a")

    def look(rounds: int) -> dict[str, Series]:
        return {"a": Series(a[:rounds].tolist(), frozenset()), "b": Series(b[:rounds].tolist(), frozenset())}

    rounds = next(n for n in range(1, limits[1] + 1) if rule.reason(n, float(n), partial(look, n)))
    seen, median = ratio_interval(b[:rounds], a[:rounds]), median_interval(a[:rounds])
    b_faster, a_faster = seen.high < 1, seen.low > 1
    wrong = b_faster or (ratio == 1 and a_faster)
    return rounds, not seen.low <= ratio <= seen.high, not median.low <= 1 <= median.high, wrong


def _drift(generator: np.random.Generator, rounds: int, correlation: float, spread: float) -> NDArray[np.float64]:
    steps = generator.standard_normal(rounds) * math.sqrt(1 - correlation**2)
    steps[0] = generator.standard_normal()
    for at in range(1, rounds):
        steps[at] += correlation * steps[at - 1]
    return spread * steps


@cache
def _recorded(kind: str) -> list[Pair]:
    pairs = []
    for process in json.loads(RECORDED.read_text(encoding="utf-8"))[kind]:
        copies = [np.log(np.asarray(times, dtype=np.float64)) for name, times in process.items() if "loop" in name]
        pairs += [np.stack([one - np.median(one), two - np.median(two)]) for one, two in combinations(copies, 2)]
    return pairs


def main(repeats: int) -> None:
    """The table, in per cent."""
    print(f"{'':18}{'ratio':>7}  rounds  ratio missed  median missed  wrong winner     of {repeats} each")
    for name, noise in NOISES.items():
        for ratio in RATIOS:
            cells = [rates(noise, ratio, (5, 300), repeats)]
            with naive():
                cells.append(rates(noise, ratio, (5, 300), repeats))
            parts = [
                [f"{cell.rounds:.0f}", *(f"{100 * getattr(cell, which):.1f}" for which in list(vars(cell))[1:])]
                for cell in cells
            ]
            columns = [f"{new} ({old})" for new, old in zip(*parts, strict=True)]
            print(f"{name:18}{ratio:7.3f} " + "".join(f"{column:>14}" for column in columns), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 400)
