from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from mohge.reference import LayerSpec, Routing, combine_rows, expert_counts, permutation, permute_rows


@dataclass(frozen=True)
class Case:
    """T tokens, K of E experts; `used` are the experts anybody chooses."""

    name: str
    tokens: int
    top_k: int
    experts: int
    used: tuple[int, ...]

    @property
    def spec(self) -> LayerSpec:
        return LayerSpec(self.name, 3, (2,), self.experts, self.top_k, 1)

    @property
    def routing(self) -> Routing:
        generator = np.random.default_rng(len(self.name))
        ids = [generator.permutation(self.used)[: self.top_k] for _ in range(self.tokens)]
        return Routing(
            np.array(ids, dtype=np.int64).reshape(self.tokens, self.top_k),
            generator.random((self.tokens, self.top_k)),
        )


CASES = [
    Case("every expert used", 23, 3, 5, (0, 1, 2, 3, 4)),
    Case("first, middle and last expert empty", 11, 2, 7, (1, 2, 4, 5)),
    Case("zero tokens", 0, 2, 4, (0, 1)),
    Case("one token", 1, 2, 4, (3, 0)),
    Case("all tokens on one expert", 17, 1, 4, (2,)),
    Case("one expert", 5, 1, 1, (0,)),
]


def test_worked_example() -> None:
    spec = LayerSpec("worked", 1, (1,), experts_per_group=4, top_k=2, top_groups=1)
    rows = permutation(
        Routing(np.array([[3, 0], [0, 1], [1, 3]]), np.array([[0.7, 0.3], [0.6, 0.4], [0.9, 0.1]])), spec
    )
    assert rows.row_token.tolist() == [0, 1, 1, 2, 0, 2]
    assert rows.row_weight.tolist() == [0.3, 0.6, 0.4, 0.9, 0.7, 0.1]
    assert rows.expert_offsets.tolist() == [0, 2, 4, 4, 6]
    assert rows.token_row.tolist() == [[4, 0], [1, 2], [3, 5]]
    assert rows.counts.tolist() == [2, 2, 0, 2]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_rows_are_sorted_by_expert_then_token_then_slot(case: Case) -> None:
    routing = case.routing
    pairs = [
        (expert, token, slot)
        for expert in range(case.experts)
        for token in range(case.tokens)
        for slot in range(case.top_k)
        if routing.expert_ids[token, slot] == expert
    ]
    rows = permutation(routing, case.spec)
    assert rows.row_token.tolist() == [token for _, token, _ in pairs]
    assert rows.row_weight.tolist() == [routing.weights[token, slot] for _, token, slot in pairs]
    assert rows.token_row.shape == (case.tokens, case.top_k)
    for row, (_, token, slot) in enumerate(pairs):
        assert rows.token_row[token, slot] == row
    counts = [sum(pair[0] == expert for pair in pairs) for expert in range(case.experts)]
    assert rows.counts.tolist() == counts == expert_counts(routing, case.spec).tolist()
    integers = (rows.expert_offsets, rows.row_token, rows.token_row)
    assert {array.dtype for array in integers} == {np.dtype(np.int64)}
    assert rows.row_weight.dtype == np.float64


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_permute_and_combine_equal_loops(case: Case) -> None:
    routing, generator = case.routing, np.random.default_rng(9)
    x = generator.standard_normal((case.tokens, 3)).astype(np.float32)
    rows = permutation(routing, case.spec)
    gathered = permute_rows(x, rows)
    assert gathered.dtype == np.float64
    assert gathered.tolist() == [x[token].tolist() for token in rows.row_token]
    values = generator.standard_normal(gathered.shape)
    expected = np.zeros((case.tokens, 3))
    for token in range(case.tokens):
        for slot in range(case.top_k):
            expected[token] += routing.weights[token, slot] * values[rows.token_row[token, slot]]
    np.testing.assert_array_equal(combine_rows(values, rows), expected)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "uint64"])
def test_any_integer_type_gives_the_same_rows(dtype: str) -> None:
    case = CASES[0]
    plain = permutation(case.routing, case.spec)
    other = permutation(Routing(case.routing.expert_ids.astype(dtype), case.routing.weights), case.spec)
    assert other.row_token.tolist() == plain.row_token.tolist()
    assert other.expert_offsets.tolist() == plain.expert_offsets.tolist()


def test_bad_rows() -> None:
    case = CASES[0]
    rows = permutation(case.routing, case.spec)
    with pytest.raises(ValueError, match=r"^x: expected shape \[23, hidden\], got \[22, 3\]$"):
        permute_rows(np.zeros((22, 3)), rows)
    with pytest.raises(ValueError, match=r"^rows: expected shape \[69, hidden\], got \[69\]$"):
        combine_rows(np.zeros(69), rows)
    with pytest.raises(ValueError, match=r"^expert_ids: expected 0 to 4, got 5 at token 0, slot 0$"):
        permutation(Routing(np.full((1, 3), 5), np.ones((1, 3))), case.spec)
