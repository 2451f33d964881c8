"""The machines that experts are placed on: ranks, nodes, links, speeds and memory."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..reference.tables import check_keys, read_toml
from .checks import check_whole
from .link_tables import read_link
from .links import Link

GIB = 2**30


@dataclass(frozen=True)
class Cluster:
    """P ranks on nodes of equal size; ranks of a node are consecutive.

    name:            what reports call it
    nodes:           number of nodes
    ranks_per_node:  ranks on each; P = nodes * ranks_per_node
    inside:          links between ranks of one node
    between:         links between nodes, per rank; None with one node
    memory_bytes:    memory of a GPU; None where nobody said
    speeds:          how fast each rank computes, 1.0 is the speed the cost model is for; empty means all 1.0
    max_nodes:       node-limited routing: the most nodes the experts of a token may lie on; None means any number

    Raises ValueError when the numbers do not make a cluster.
    """

    name: str
    nodes: int
    ranks_per_node: int
    inside: Link
    between: Link | None = None
    memory_bytes: int | None = None
    speeds: tuple[float, ...] = ()
    max_nodes: int | None = None

    def __post_init__(self) -> None:
        for name in ("nodes", "ranks_per_node"):
            check_whole(name, getattr(self, name), 1)
        if self.nodes > 1 and self.between is None:
            raise ValueError(f"between: expected the links between {self.nodes} nodes, got none")
        if self.memory_bytes is not None:
            check_whole("memory_bytes", self.memory_bytes, 1)
        if self.max_nodes is not None:
            check_whole("max_nodes", self.max_nodes, 1)
        object.__setattr__(self, "speeds", tuple(float(speed) for speed in self.speeds))
        if self.speeds and len(self.speeds) != self.ranks:
            raise ValueError(f"speeds: expected one for each of {self.ranks} ranks, got {len(self.speeds)}")
        if not all(np.isfinite(speed) and speed > 0 for speed in self.speeds):
            raise ValueError(f"speeds: expected numbers above 0, got {list(self.speeds)}")

    @classmethod
    def preset(cls, name: str) -> Cluster:
        """The preset called `name` (CLUSTERS). Raises ValueError naming the nearest when there is none."""
        if name not in CLUSTERS:
            near = difflib.get_close_matches(str(name), CLUSTERS, n=1, cutoff=0.3)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise ValueError(f"unknown cluster {name!r}{hint} Known: {', '.join(CLUSTERS)}")
        return CLUSTERS[name]

    @classmethod
    def from_toml(cls, path: str | Path) -> Cluster:
        """Read a cluster from a TOML file: the fields of this class, with links as tables and memory in GiB.

            nodes = 2
            ranks_per_node = 8
            memory_gib = 141
            [inside]
            alpha_us = 11
            gb_per_s = 280
            [between]
            table = "measured.csv"    # columns bytes and us; beside this file

        Raises ValueError, naming the file, for what cannot be read, is unknown, missing or impossible.
        """
        path = Path(path)
        table = read_toml(path)
        try:
            return _from_table({"name": path.stem, **table}, path.parent)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    @property
    def ranks(self) -> int:
        """P."""
        return self.nodes * self.ranks_per_node

    @property
    def node_of(self) -> NDArray[np.int64]:
        """The node of every rank, int64[P]."""
        return np.repeat(np.arange(self.nodes, dtype=np.int64), self.ranks_per_node)

    @property
    def speed_of(self) -> NDArray[np.float64]:
        """The speed of every rank, float64[P]."""
        return np.array(self.speeds) if self.speeds else np.ones(self.ranks)

    def of(self, ranks: int) -> Cluster:
        """The same machines with `ranks` ranks: part of one node, or as many whole nodes.

        Raises ValueError where the ranks fill neither, need links between nodes that are unknown, or speeds are uneven.
        """
        check_whole("ranks", ranks, 1)
        if ranks == self.ranks:
            return self
        if len(set(self.speeds)) > 1:
            raise ValueError(f"ranks: expected {self.ranks}, the ranks that speeds are given for, got {ranks}")
        speeds = self.speeds[:1] * ranks
        if ranks <= self.ranks_per_node:
            return replace(self, nodes=1, ranks_per_node=ranks, speeds=speeds)
        nodes, rest = divmod(ranks, self.ranks_per_node)
        if rest:
            raise ValueError(f"ranks: expected whole nodes of {self.ranks_per_node} ranks, got {ranks}")
        return replace(self, nodes=nodes, speeds=speeds)


_KEYS = ("name", "nodes", "ranks_per_node", "inside", "between", "memory_gib", "speeds", "max_nodes")
_LINK_KEYS = ("alpha_us", "gb_per_s", "source", "table")


def _from_table(table: dict[str, Any], folder: Path) -> Cluster:
    check_keys(table, _KEYS)
    missing = [key for key in ("nodes", "ranks_per_node", "inside") if key not in table]
    if missing:
        raise ValueError(f"missing {', '.join(missing)}")
    memory = table.get("memory_gib")
    if memory is not None and (isinstance(memory, bool) or not isinstance(memory, int | float) or memory <= 0):
        raise ValueError(f"memory_gib: expected a number above 0, got {memory!r}")
    speeds = table.get("speeds", [])
    if not isinstance(speeds, list) or not all(type(speed) in (int, float) for speed in speeds):
        raise ValueError(f"speeds: expected a list of numbers, got {speeds!r}")
    return Cluster(
        name=str(table["name"]),
        nodes=table["nodes"],
        ranks_per_node=table["ranks_per_node"],
        inside=_link("inside", table["inside"], folder),
        between=_link("between", table["between"], folder) if "between" in table else None,
        memory_bytes=None if memory is None else round(memory * GIB),
        speeds=tuple(speeds),
        max_nodes=table.get("max_nodes"),
    )


def _link(name: str, table: Any, folder: Path) -> Link:
    if not isinstance(table, dict):
        raise ValueError(f"{name}: expected a table with alpha_us and gb_per_s, or table, got {table!r}")
    check_keys(table, _LINK_KEYS, f"{name}: ")
    if "table" in table:
        if not isinstance(table["table"], str):
            raise ValueError(f"{name}: table: expected the name of a CSV file, got {table['table']!r}")
        return read_link(folder / table["table"], name)
    for key in ("alpha_us", "gb_per_s"):
        if type(table.get(key)) not in (int, float):
            raise ValueError(f"{name}: {key}: expected a number, got {table.get(key)!r}")
    return Link(name, table["alpha_us"] * 1e-6, table["gb_per_s"] * 1e9, str(table.get("source", "given by the user")))


NVLINK_NCCL = Link(
    "nvlink",
    alpha_s=11e-6,
    bytes_per_s=280e9,
    source="middle of 9-13 us and 272-289 GB/s, fits to NCCL all-to-all on 8 GPUs that are 13-19 % off "
    "(aiconfigurator's H200 tables); nominal 450 GB/s",
)


def _rdma(nodes: int, alpha_us: float, gb_per_s: float, rate_source: str) -> Link:
    return Link(
        f"rdma-{nodes}-nodes",
        alpha_s=alpha_us * 1e-6,
        bytes_per_s=gb_per_s * 1e9,
        source=f"{rate_source}; start-up of DeepEP's low-latency kernels on {nodes} nodes (aiconfigurator's H200 "
        "tables); nominal 400 Gb/s = 50 GB/s",
    )


H200X8 = Cluster("h200x8", nodes=1, ranks_per_node=8, inside=NVLINK_NCCL, memory_bytes=141 * 10**9)
CLUSTERS: dict[str, Cluster] = {
    "h200x8": H200X8,
    "h200x8-2nodes": replace(
        H200X8, name="h200x8-2nodes", nodes=2, between=_rdma(2, 20, 38, "38 GB/s a GPU, DeepEP normal on 2 nodes")
    ),
    "h200x8-4nodes": replace(
        H200X8, name="h200x8-4nodes", nodes=4, between=_rdma(4, 25, 45, "45 GB/s a GPU, DeepEP normal on 4 nodes")
    ),
    # The published exchanges of normal kernels on 8 nodes look unsound, so the rate of 4 nodes stands in for them.
    "h200x8-8nodes": replace(
        H200X8, name="h200x8-8nodes", nodes=8, between=_rdma(8, 27, 45, "45 GB/s a GPU, that of 4 nodes")
    ),
}
