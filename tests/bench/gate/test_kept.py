"""Questions that serve many layers: kept in files, placed once, and another one for every layer all the same."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from mohge.bench.gate import KeptQuestions, Question, Trusted, answer, check, kept, place, pose
from mohge.bench.records import Status
from mohge.kernels import load
from mohge.reference import ExpertWeights, LayerSpec, Routing, expert_ffn

SPEC = LayerSpec("small", 16, (8, 24), 3, 2, 2, shared_width=8)
WEIGHTS = ExpertWeights.random(SPEC, 3)
NAMES = ("gate", "up", "down")
LAYER = load("torch_loop").prepare(SPEC, WEIGHTS, "cpu", torch.float32)


def routing(tokens: int, seed: int = 0) -> Routing:
    generator = np.random.default_rng(seed)
    ids = generator.random((tokens, SPEC.experts)).argsort(axis=1)[:, : SPEC.top_k]
    return Routing(ids, generator.random(ids.shape).astype(np.float32))


def asked(folder: Path, tokens: int = 5, dtype: torch.dtype = torch.float32, **changes: Any) -> Question:
    table = {"spec": SPEC, "weights": WEIGHTS, "routing": routing(tokens), "dtype": dtype, "weights_seed": 3}
    return KeptQuestions(folder).pose(**{**table, **changes})


def same(one: Question, other: Question) -> bool:
    arrays = [(getattr(one.routing, n), getattr(other.routing, n)) for n in ("expert_ids", "weights")]
    arrays += [(getattr(one.earlier_routing, n), getattr(other.earlier_routing, n)) for n in ("expert_ids", "weights")]
    tensors = [(getattr(one, n), getattr(other, n)) for n in ("x", "expected", "earlier_x")]
    sampled = (one.tokens is None) == (other.tokens is None)
    arrays += [] if one.tokens is None or other.tokens is None else [(one.tokens, other.tokens)]
    equal = all(np.array_equal(a, b) for a, b in arrays) and all(torch.equal(a, b) for a, b in tensors)
    return equal and sampled and (one.seed, one.shared, one.spec) == (other.seed, other.shared, other.spec)


@pytest.fixture
def posed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with every question that is really posed."""
    seeds: list[int] = []

    def counting(*arguments: Any, **options: Any) -> Question:
        question = pose(*arguments, **options)
        seeds.append(question.seed)
        return question

    monkeypatch.setattr(kept, "pose", counting)
    return seeds


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("tokens", [0, 1, 5])
def test_a_question_is_posed_once_and_read_back_to_the_last_bit(
    tmp_path: Path, posed: list[int], dtype: torch.dtype, tokens: int
) -> None:
    first, second = asked(tmp_path, tokens, dtype), asked(tmp_path, tokens, dtype)
    assert len(posed) == 1
    assert same(first, second)
    assert same(second, pose(SPEC, WEIGHTS, routing(tokens), dtype, seed=posed[0]))
    assert answer(load("torch_loop").prepare(SPEC, WEIGHTS, "cpu", dtype), place(second, "cpu")).passed


DIFFERENT: dict[str, dict[str, Any]] = {
    "routing": {"routing": routing(5, seed=1)},
    "combine weights": {"routing": replace(routing(5), weights=2 * routing(5).weights)},
    "dtype": {"dtype": torch.bfloat16},
    "weights": {"weights": ExpertWeights.random(SPEC, 4), "weights_seed": 4},
    "shared": {"weights": ExpertWeights.random(SPEC, 3, shared=True)},
    "spec": {"spec": replace(SPEC, name="another")},
    "sample": {"reference_flops": 0},
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_another_question_has_another_file(tmp_path: Path, posed: list[int], what: str) -> None:
    asked(tmp_path)
    asked(tmp_path, **DIFFERENT[what])
    assert len(posed) == len(list(tmp_path.glob("*.pt"))) == 2


def test_what_a_kill_or_a_full_disk_leaves_is_posed_anew(tmp_path: Path, posed: list[int]) -> None:
    first = asked(tmp_path)
    (path,) = tmp_path.glob("*.pt")
    path.with_suffix(".part").write_bytes(b"begun")
    path.write_bytes(path.read_bytes()[:100])
    second = asked(tmp_path)
    assert first.seed != second.seed
    assert same(second, asked(tmp_path))
    assert len(posed) == 2


def test_what_a_reader_overwrites_is_its_own(tmp_path: Path) -> None:
    asked(tmp_path)
    spoiled = asked(tmp_path)
    spoiled.x.fill_(1)
    spoiled.expected.fill_(1)
    assert not same(spoiled, asked(tmp_path))
    assert answer(LAYER, place(asked(tmp_path), "cpu")).passed


def _seed(folder: Path) -> int:
    return asked(folder).seed


def test_two_processes_get_one_question(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert len(set(pool.map(_seed, [tmp_path] * 4, chunksize=1))) == 1
    assert len(list(tmp_path.glob("*.pt"))) == 1


@pytest.mark.parametrize("sampled", [False, True])
def test_a_turned_question_has_the_reference_s_own_answer(sampled: bool) -> None:
    question = pose(SPEC, WEIGHTS, routing(60), torch.bfloat16, **({"reference_flops": 0} if sampled else {}))
    turned, signs = question.turned(np.random.default_rng(0))
    assert set(signs.tolist()) == {-1.0, 1.0}
    lists = {name: [torch.as_tensor(m).bfloat16().double().numpy() for m in getattr(WEIGHTS, name)] for name in NAMES}
    exact = ExpertWeights(gate=lists["gate"], up=lists["up"], down=lists["down"])
    whole = torch.from_numpy(expert_ffn(question.x.double().numpy(), exact, turned.routing, SPEC))
    assert torch.equal(turned.expected, whole if turned.tokens is None else whole[turned.tokens])


def test_what_no_combine_weight_scales_cannot_be_turned() -> None:
    question = pose(SPEC, ExpertWeights.random(SPEC, 3, shared=True), routing(4), torch.float32)
    with pytest.raises(ValueError, match="expected weights without a shared expert"):
        question.turned(np.random.default_rng(0))


class Lazy:
    """Gives the first output again and again, as memory that nobody writes would."""

    def __init__(self) -> None:
        self.first: dict[bool, torch.Tensor] = {}

    def __call__(self, x: torch.Tensor, plan: Any) -> torch.Tensor:
        return self.first.setdefault(bool(x[0, 0] == self.x[0, 0]), LAYER(x, plan)).clone()

    x = torch.zeros(1, 1)

    def phases(self, x: torch.Tensor, plan: Any) -> dict[str, Callable[[], Any]]:
        return {}

    def executed_flops(self, counts: Any) -> int:
        return 0


@pytest.mark.parametrize("sampled", [False, True])
def test_the_answer_of_an_earlier_layer_is_none_to_a_turned_question(sampled: bool) -> None:
    options = {"reference_flops": 0} if sampled else {}
    question = place(pose(SPEC, WEIGHTS, routing(40), torch.float32, **options), "cpu")
    generator, lazy = np.random.default_rng(1), Lazy()
    lazy.x = question.x
    assert answer(lazy, question).passed
    assert answer(lazy, question).passed  # the same numbers again: this is what turning is for
    turned = question.turned(generator)
    assert answer(lazy, turned).status is Status.INCORRECT
    assert answer(LAYER, turned).passed
    assert answer(LAYER, turned.turned(generator)).passed


def test_a_trusted_layer_runs_once_for_a_question_and_its_turns() -> None:
    proof = check(LAYER, SPEC, WEIGHTS, routing(9), dtype=torch.float32, device="cpu")
    calls = []

    class Counting:
        def __call__(self, x: torch.Tensor, plan: Any) -> torch.Tensor:
            calls.append(1)
            return LAYER(x, plan)

    trusted = Trusted("torch_loop", Counting(), proof)  # type: ignore[arg-type]
    question = place(pose(SPEC, WEIGHTS, routing(400), torch.float32, reference_flops=0), "cpu")

    def spoil_one(x: torch.Tensor, plan: Any) -> torch.Tensor:
        y = LAYER(x, plan)
        assert question.question.tokens is not None
        y[min(set(range(400)) - set(question.question.tokens.tolist()))] *= 1.5
        return y

    generator = np.random.default_rng(2)
    right = answer(LAYER, question, trusted)
    assert right.passed
    assert right.checked.endswith("every element against torch_loop")
    turned = question.turned(generator).turned(generator)
    assert answer(LAYER, turned, trusted) == replace(right, relative=mock.ANY, worst=mock.ANY, where=mock.ANY)
    wrong = answer(spoil_one, turned, trusted)  # type: ignore[arg-type]
    assert wrong.status is Status.INCORRECT
    assert len(calls) == 1
