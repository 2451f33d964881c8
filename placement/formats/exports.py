"""Placements as serving engines take them: EPLB's `phy2log` and TensorRT-LLM's load balancer file.

Both number slots: every rank has the same number S of them, those of rank r are r*S to (r+1)*S - 1, and a table says
which expert is in each. Rows of an expert with several slots are shared evenly; the engines know no other way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..copies import assignment, holders
from .source import Source


@dataclass(frozen=True)
class Slots:
    """Which experts each rank holds in a layer, as `assignment` takes it: even shares, experts in the order of slots.

    ranks:     P
    replicas:  for each expert the ranks that hold it
    """

    ranks: int
    replicas: tuple[tuple[int, ...], ...]


def phy2log(placement: Any) -> NDArray[np.int64]:
    """The expert in each slot, int64[P*S], slots of a rank in the order of expert ids.

    placement: anything `assignment` takes. Raises ValueError where ranks hold different numbers of experts, or where
    the copies of an expert take different shares of its rows.

    >>> phy2log(Slots(2, ((0, 1), (0,), (1,))))
    array([0, 1, 0, 2])
    """
    held, shares = holders(placement), assignment(placement)
    on_rank = held.sum(axis=0)
    if on_rank.min() != on_rank.max():
        raise ValueError(
            f"export: expected the same number of experts on every rank, got {on_rank.min()} to {on_rank.max()}"
        )
    uneven = held & (np.abs(shares * held.sum(axis=1, keepdims=True) - 1) > 1e-6)
    if uneven.any():
        expert = int(np.argmax(uneven.any(axis=1)))
        parts = [round(float(share), 6) for share in shares[expert, held[expert]]]
        raise ValueError(
            f"export: expected equal shares of an expert's rows on its ranks, got {parts} for expert {expert}"
        )
    return np.nonzero(held.T)[1]


def to_eplb(placements: Mapping[int, Any]) -> str:
    """EPLB's answer as JSON: `phy2log` [layers, slots], with `layers`, `num_replicas` (slots) and `num_gpus` (ranks).

    placements: by layer number, all on the same ranks and slots. The map is also there as `physical_to_logical_map`,
    the key under which SGLang's --init-expert-location reads it.

    Source: github.com/deepseek-ai/EPLB, `rebalance_experts`; github.com/sgl-project/sglang, expert_location.py. Raises
    ValueError.
    """
    table, ranks = _table(placements)
    lines = [slots.tolist() for slots in table]
    value = {
        "layers": [int(layer) for layer in placements],
        "num_replicas": len(lines[0]),
        "num_gpus": ranks,
        "phy2log": lines,
        "physical_to_logical_map": lines,
    }
    return "{\n" + ",\n".join(f" {json.dumps(key)}: {json.dumps(item)}" for key, item in value.items()) + "\n}\n"


def to_trtllm(placements: Mapping[int, Any]) -> str:
    """TensorRT-LLM's load balancer file (YAML): num_slots, initial_global_assignments by layer, no online updates.

    placements: by layer number as the model counts its layers, all on the same ranks and slots. moe_config's
    load_balancer names the file; the expert parallel size is the number of ranks.

    Source: github.com/NVIDIA/TensorRT-LLM, examples/wide_ep/ep_load_balancer (README, generate_eplb_config.py). Raises
    ValueError.
    """
    table, _ = _table(placements)
    lines = [f"  {int(layer)}: {json.dumps(slots.tolist())}" for layer, slots in zip(placements, table, strict=True)]
    head = ["initial_global_assignments:", *lines, f"num_slots: {len(table[0])}", "layer_updates_per_iter: 0"]
    return "\n".join(head) + "\n"


@dataclass(frozen=True)
class Export:
    """A format that placements are written in. write: placements by layer number -> the file's text."""

    name: str
    description: str
    write: Callable[[Mapping[int, Any]], str]


EXPORTS: dict[str, Export] = {
    "eplb": Export("eplb", "EPLB's phy2log, also SGLang's physical_to_logical_map (JSON)", to_eplb),
    "trtllm": Export("trtllm", "TensorRT-LLM's load balancer file (YAML)", to_trtllm),
}


def read_phy2log(path: str | Path, ranks: int | None = None) -> list[Slots]:
    """Read `phy2log` (or `physical_to_logical_map`) [layers, slots] from JSON, layer by layer.

    ranks: P, or None for the file's own `num_gpus`. Raises ValueError naming the file for what is not such a map, a
    number of slots that P does not divide, an expert without a slot, and one with two slots on a rank.
    """
    source = Source(Path(path))
    value = source.value
    name = next((key for key in ("phy2log", "physical_to_logical_map") if isinstance(value, dict) and key in value), "")
    if not name:
        raise ValueError(f"{path}: expected the key 'phy2log' or 'physical_to_logical_map', got none")
    table = source.numbers(value[name], name, "layer, slot")
    ranks = value.get("num_gpus") if ranks is None else ranks
    if not isinstance(ranks, int) or isinstance(ranks, bool) or ranks < 1 or table.shape[1] % ranks:
        raise ValueError(f"{path}: num_gpus: expected a divisor of the {table.shape[1]} slots, got {ranks!r}")
    return [_slots(line, ranks, f"{path}: {name}[{layer}]") for layer, line in enumerate(table.tolist())]


def _slots(line: Sequence[int], ranks: int, where: str) -> Slots:
    experts = max(line) + 1
    replicas: list[list[int]] = [[] for _ in range(experts)]
    for slot, expert in enumerate(line):
        if not isinstance(expert, int) or expert < 0:
            raise ValueError(f"{where}: slot {slot}: expected an expert's number, got {expert!r}")
        replicas[expert].append(slot // (len(line) // ranks))
    for expert, on in enumerate(replicas):
        if len(set(on)) != max(len(on), 1):
            what = f"two copies on rank {next(rank for rank in on if on.count(rank) > 1)}" if on else "no slot"
            raise ValueError(f"{where}: expected every expert in a slot, none twice on a rank, got {what} for {expert}")
    return Slots(ranks, tuple(tuple(on) for on in replicas))


def _table(placements: Mapping[int, Any]) -> tuple[list[NDArray[np.int64]], int]:
    """The slots of every layer, and P. Raises ValueError for no layers, or layers that differ in ranks or slots."""
    if not placements:
        raise ValueError("export: expected a placement of at least one layer, got none")
    table = []
    for layer, placement in placements.items():
        try:
            table.append(phy2log(placement))
        except ValueError as error:
            raise ValueError(f"layer {layer}: {error}") from error
    shapes = {(len(slots), int(placement.ranks)) for slots, placement in zip(table, placements.values(), strict=True)}
    if len(shapes) > 1:
        raise ValueError(f"export: expected the same slots and ranks in every layer, got {sorted(shapes)}")
    return table, shapes.pop()[1]
