"""Placements in the formats of serving engines: what is written, and that it comes back the same."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mohge.placement import EXPORTS, allocate, assignment, phy2log, read_phy2log, to_eplb, to_trtllm
from mohge.placement.formats.exports import Slots
from mohge.reference import LayerSpec

SPEC = LayerSpec("eight", hidden=4, widths=(3, 5), experts_per_group=4, top_k=2, top_groups=2)
# Four experts on two ranks with three slots each: 1 and 2 have a copy on both.
COPIES = Slots(2, ((0,), (0, 1), (0, 1), (1,)))


def slots_of(experts: list[list[int]]) -> Slots:
    """The placement whose ranks hold these experts."""
    replicas: dict[int, list[int]] = {}
    for rank, held in enumerate(experts):
        for expert in held:
            replicas.setdefault(expert, []).append(rank)
    return Slots(len(experts), tuple(tuple(replicas[expert]) for expert in sorted(replicas)))


def test_a_worked_example() -> None:
    assert phy2log(COPIES).tolist() == [0, 1, 2, 1, 2, 3]
    assert json.loads(to_eplb({0: COPIES, 3: COPIES})) == {
        "layers": [0, 3],
        "num_replicas": 6,
        "num_gpus": 2,
        "phy2log": [[0, 1, 2, 1, 2, 3]] * 2,
        "physical_to_logical_map": [[0, 1, 2, 1, 2, 3]] * 2,
    }
    assert to_trtllm({3: COPIES}) == (
        "initial_global_assignments:\n  3: [0, 1, 2, 1, 2, 3]\nnum_slots: 6\nlayer_updates_per_iter: 0\n"
    )


def test_a_placement_of_a_policy_comes_back() -> None:
    placement = allocate("lpt", SPEC, np.arange(1, 9), 4)
    slots = phy2log(placement)
    rank_of = np.empty(8, dtype=np.int64)
    rank_of[slots] = np.arange(8) // 2
    np.testing.assert_array_equal(rank_of, placement.rank_of)


def test_the_published_example_of_eplb_comes_back(shared_data: Path, tmp_path: Path) -> None:
    """Reading EPLB's own map, writing it and reading that gives the same ranks; slots inside a rank have no order."""
    example = json.loads((shared_data / "eplb-example.json").read_text())
    read = read_phy2log(shared_data / "eplb-example.json")
    path = tmp_path / "map.json"
    path.write_text(to_eplb(dict(enumerate(read))))
    again = read_phy2log(path)
    assert again == read
    for mine, line in zip(read, example["phy2log"], strict=True):
        assert [sorted(pair) for pair in np.reshape(line, (8, 2)).tolist()] == phy2log(mine).reshape(8, 2).tolist()
        np.testing.assert_allclose(assignment(mine).sum(axis=1), 1)


def test_the_yaml_is_yaml() -> None:
    yaml = pytest.importorskip("yaml", reason="no YAML parser is installed")
    written = yaml.safe_load(to_trtllm({3: COPIES, 11: COPIES}))
    assert written == {
        "num_slots": 6,
        "initial_global_assignments": {3: [0, 1, 2, 1, 2, 3], 11: [0, 1, 2, 1, 2, 3]},
        "layer_updates_per_iter": 0,
    }


@pytest.mark.parametrize("name", EXPORTS)
@pytest.mark.parametrize(
    ("placements", "message"),
    [
        ({}, "export: expected a placement of at least one layer, got none"),
        (
            {4: slots_of([[0, 1], [2]])},
            "layer 4: export: expected the same number of experts on every rank, got 1 to 2",
        ),
        (
            {0: slots_of([[0], [1]]), 1: slots_of([[0, 1], [0, 2]])},
            "export: expected the same slots and ranks in every layer, got [(2, 2), (4, 2)]",
        ),
        (
            {0: SimpleNamespace(ranks=2, replicas=((0, 1), (0,), (1,)), shares=((0.75, 0.25), (1.0,), (1.0,)))},
            "layer 0: export: expected equal shares of an expert's rows on its ranks, got [0.75, 0.25] for expert 0",
        ),
    ],
)
def test_what_the_engines_cannot_hold_is_refused(name: str, placements: dict[int, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        EXPORTS[name].write(placements)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([[0, 1]], "expected the key 'phy2log' or 'physical_to_logical_map', got none"),
        ({"phy2log": [[0, 1, 2]], "num_gpus": 2}, "num_gpus: expected a divisor of the 3 slots, got 2"),
        ({"phy2log": [[0, 1]]}, "num_gpus: expected a divisor of the 2 slots, got None"),
        ({"phy2log": [[0, 1], [0]], "num_gpus": 2}, "phy2log[1]: expected 2 entries as in [0], got 1"),
        ({"phy2log": [[0, -1]], "num_gpus": 2}, "phy2log[0]: slot 1: expected an expert's number, got -1"),
        (
            {"phy2log": [[0, 2]], "num_gpus": 2},
            "phy2log[0]: expected every expert in a slot, none twice on a rank, got no slot for 1",
        ),
        (
            {"phy2log": [[1, 0, 1, 1]], "num_gpus": 2},
            "phy2log[0]: expected every expert in a slot, none twice on a rank, got two copies on rank 1 for 1",
        ),
    ],
)
def test_a_broken_map_is_named_by_place(tmp_path: Path, value: Any, message: str) -> None:
    path = tmp_path / "map.json"
    path.write_text(json.dumps(value))
    with pytest.raises(ValueError, match=f"^{re.escape(f'{path}: {message}')}$"):
        read_phy2log(path)
