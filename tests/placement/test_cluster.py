from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mohge.placement import CLUSTERS, Cluster, Link

WIRE = Link("wire", 1e-6, 1e9)


@pytest.mark.parametrize("name", CLUSTERS)
def test_presets_say_where_their_numbers_are_from(name: str) -> None:
    cluster = Cluster.preset(name)
    assert cluster.name == name
    assert cluster.ranks == 8 * cluster.nodes
    assert len(cluster.node_of) == len(cluster.speed_of) == cluster.ranks
    for link in (cluster.inside, cluster.between):
        if link is not None:
            assert link.source
            assert link.provenance == "predicted"
    assert (cluster.between is None) == (cluster.nodes == 1)


def test_ranks_of_a_node_are_consecutive() -> None:
    assert Cluster("c", 2, 3, WIRE, WIRE).node_of.tolist() == [0, 0, 0, 1, 1, 1]


def test_part_of_a_cluster() -> None:
    two = Cluster.preset("h200x8-2nodes")
    assert two.of(16) is two
    assert (two.of(4).nodes, two.of(4).ranks_per_node) == (1, 4)
    assert two.of(32).nodes == 4
    with pytest.raises(ValueError, match="ranks: expected whole nodes of 8 ranks, got 12"):
        two.of(12)
    with pytest.raises(ValueError, match="between: expected the links between 2 nodes"):
        Cluster.preset("h200x8").of(16)
    with pytest.raises(ValueError, match="ranks: expected 2, the ranks that speeds are given for"):
        Cluster("c", 1, 2, WIRE, speeds=(1.0, 0.5)).of(1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nodes": 0}, "nodes: expected a whole number of at least 1, got 0"),
        ({"ranks_per_node": 2.0}, "ranks_per_node: expected a whole number of at least 1, got 2.0"),
        ({"nodes": 2}, "between: expected the links between 2 nodes, got none"),
        ({"speeds": (1.0,)}, "speeds: expected one for each of 4 ranks, got 1"),
        ({"speeds": (1, 1, 1, 0)}, "speeds: expected numbers above 0"),
        ({"memory_bytes": 0}, "memory_bytes: expected a whole number"),
        ({"max_nodes": 0}, "max_nodes: expected a whole number"),
    ],
)
def test_impossible_clusters_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(Cluster("c", 1, 4, WIRE), **change)


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown cluster 'h200x8-3nodes'; did you mean 'h200x8-"):
        Cluster.preset("h200x8-3nodes")


TOML = """
nodes = 2
ranks_per_node = 2
memory_gib = 80
max_nodes = 1
speeds = [1, 1, 0.5, 0.5]
[inside]
alpha_us = 11
gb_per_s = 280
source = "mine"
[between]
table = "net.csv"
"""


def test_a_users_cluster(tmp_path: Path) -> None:
    (tmp_path / "net.csv").write_text("bytes,us\n1000,10\n2000,20\n")
    path = tmp_path / "lab.toml"
    path.write_text(TOML)
    cluster = Cluster.from_toml(path)
    assert (cluster.name, cluster.ranks, cluster.max_nodes) == ("lab", 4, 1)
    assert cluster.memory_bytes == 80 * 2**30
    assert cluster.speed_of.tolist() == [1, 1, 0.5, 0.5]
    assert cluster.inside == Link("inside", 11e-6, 280e9, "mine")
    assert cluster.between is not None
    assert cluster.between.provenance == "measured"
    assert cluster.between.time(2000) == pytest.approx(20e-6)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("nodes = 2", "nods = 2", "unknown key 'nods'; did you mean 'nodes'?"),
        ("nodes = 2\n", "", "missing nodes"),
        ("alpha_us = 11", "alpha = 11", "inside: unknown key 'alpha'; did you mean 'alpha_us'?"),
        ("alpha_us = 11", "", "inside: alpha_us: expected a number, got None"),
        ("gb_per_s = 280", "gb_per_s = 0", "bytes_per_s: expected a number above 0"),
        ("memory_gib = 80", "memory_gib = '80'", "memory_gib: expected a number above 0, got '80'"),
        ('table = "net.csv"', 'table = "gone.csv"', "gone.csv: cannot be read"),
        ("speeds = [1, 1, 0.5, 0.5]", "speeds = 1", "speeds: expected a list of numbers, got 1"),
        ("nodes = 2", "nodes = = 2", "not a TOML file"),
    ],
)
def test_what_a_file_gets_wrong_is_named_with_the_file(tmp_path: Path, old: str, new: str, message: str) -> None:
    (tmp_path / "net.csv").write_text("bytes,us\n1000,10\n2000,20\n")
    path = tmp_path / "lab.toml"
    path.write_text(TOML.replace(old, new, 1))
    with pytest.raises(ValueError, match=r"lab\.toml") as error:
        Cluster.from_toml(path)
    assert message in str(error.value)
