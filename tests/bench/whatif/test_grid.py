"""The words of --grid, and the scenarios they come to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mohge.bench.whatif import Grid, Study, Wanted, make_study, parse_grid
from mohge.bench.whatif.batches import TOGETHER, batches_of
from mohge.placement import POLICIES

QUICK = tuple(name for name, policy in POLICIES.items() if policy.quick)


@pytest.mark.parametrize(
    ("text", "axis", "values"),
    [
        ("ranks=4,8:32:8,4", "ranks", (4, 8, 16, 24, 32)),
        ("skew=0.4:1.2:0.4", "skew", (0.4, 0.8, 1.2)),
        ("skew=0:1:0.4", "skew", (0.0, 0.4, 0.8)),
        ("policy=all", "policy", QUICK),
        ("policy=exact,aga", "policy", ("exact", "aga")),
        ("routing=uniform,hot_set:0.1,0.5,zipf", "routing", ("uniform", "hot_set:0.1,0.5", "zipf:1")),
        ("capacity=none,1.25", "capacity", (None, 1.25)),
        ("layer=each", "layer", ("each",)),
    ],
)
def test_values(text: str, axis: str, values: tuple) -> None:
    assert parse_grid([text])[axis] == values


def test_defaults_and_the_way_through_a_run_file() -> None:
    grid = parse_grid(["ranks=4", "capacity=none,1.5 skew=1"])
    assert grid["tokens"] == (4096,)
    assert grid["policy"] == QUICK
    assert not grid.given("tokens")
    assert Grid.from_dict(grid.to_dict()) == grid


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rnks=3", r"--grid: unknown axis 'rnks'; did you mean 'ranks'\? Known: spec, tokens"),
        ("ranks", "--grid ranks: expected ranks=VALUES, with whole numbers of at least 1"),
        ("ranks=", "--grid ranks: expected ranks=VALUES"),
        ("ranks=4 ranks=8", "--grid ranks: expected each axis once"),
        ("ranks=4,x", "--grid ranks: expected whole numbers .*'x' is no whole number"),
        ("ranks=0", "0 is below 1"),
        ("ranks=8:4:1", "'8:4:1' is no range FIRST:LAST:STEP with STEP above 0"),
        ("ranks=4:8", "'4:8' is no range"),
        ("skew=0:1:1e-9", "more than 10000"),
        ("skew=nan", "'nan' is no finite number"),
        ("group_loss=2", "--grid group_loss: expected strengths from 0 .*2 is above 1"),
        ("policy=agaa", "--grid policy: expected policies .*did you mean 'aga'"),
        ("routing=zip:1", "--grid routing: expected routings .*did you mean 'zipf'"),
        ("style=ring", r"--grid style: expected ways to send vectors \(nccl, by_rank, by_node\)"),
        ("capacity=much", "--grid capacity: expected most bytes of experts"),
        ("spec=,", "--grid spec: expected presets"),
    ],
)
def test_mistakes_name_the_axis_and_what_it_takes(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_grid([text])


def study(*grid: str, **wanted: Any) -> Study:
    return make_study(Wanted(parse_grid(grid).to_dict(), **wanted))


def test_every_combination_once_and_clusters_as_large_as_needed() -> None:
    found = study("ranks=4,8,16,128 routing=uniform skew=1,0.5 policy=aga,lpt cluster=auto,h200x8-2nodes")
    assert len(found.scenarios) == 3 * 2 * (4 * 2 - 1)  # 16 ranks are h200x8-2nodes both ways
    assert len(set(found.ids)) == len(found.scenarios)
    assert list(found.workloads) == ["uniform", "zipf:1", "zipf:0.5"]
    by_ranks = {scenario.ranks: scenario.cluster for scenario in found.scenarios if scenario.cluster != "h200x8-2nodes"}
    assert by_ranks == {4: "h200x8", 8: "h200x8", 128: "h200x8-8nodes"}
    assert set(found.notes["links"]) == {"h200x8", "h200x8-2nodes", "h200x8-8nodes"}
    assert found.notes["costs"]["1024"].startswith("predicted: H200 data sheet")


@pytest.mark.parametrize(
    ("grid", "wanted", "message"),
    [
        ("routing=trace", {}, "--grid routing: expected --trace FILE beside the routing trace"),
        ("domain=arxiv", {}, "expected routing=trace among the routings"),
        ("spec=mohge-3c", {}, "unknown preset 'mohge-3c'; did you mean 'mohge-3b'"),
        ("cluster=h100", {}, "unknown cluster 'h100'"),
        ("ranks=4", {"baseline": "agaa"}, "unknown policy 'agaa'"),
        ("ranks=4", {"implementation": "triton"}, "--implementation: expected --costs RUN beside it"),
        ("ranks=4", {"costs": "nowhere"}, "nowhere: expected a run"),
        ("skew=0:9.999:0.001 tokens=1:1000:1", {}, "--grid: expected at most 1000000 scenarios, got 70000000"),
    ],
)
def test_studies_that_are_none(grid: str, wanted: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        study(grid, **wanted)


def test_files_of_one_name_that_differ_are_refused(tmp_path: Path) -> None:
    text = "name = 'x'\nhidden = 64\nwidths = [32, {}]\nexperts_per_group = 4\ntop_k = 2\ntop_groups = 2\n"
    for name, width in (("a", 64), ("b", 96), ("c", 64)):
        (tmp_path / f"{name}.toml").write_text(text.format(width), encoding="utf-8")
    assert len(study(f"spec={tmp_path}/a.toml,{tmp_path}/c.toml policy=aga").scenarios) == 1
    with pytest.raises(ValueError, match="--grid spec: expected different names, got 'x' for two that differ"):
        study(f"spec={tmp_path}/a.toml,{tmp_path}/b.toml")
    before = study(f"spec={tmp_path}/a.toml").digest
    (tmp_path / "a.toml").write_text(text.format(128), encoding="utf-8")
    assert study(f"spec={tmp_path}/a.toml").digest != before


def test_recorded_routing_by_domain_and_layer(tmp_path: Path) -> None:
    header = "domain,layer," + ",".join(f"expert_{expert}" for expert in range(64))
    lines = [f"{domain},{layer},{','.join(['5'] * 64)}" for domain in ("text", "code") for layer in (2, 7)]
    path = tmp_path / "some.counts.csv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    names = [
        list(study(grid, trace=str(path)).workloads)
        for grid in ("ranks=4", "domain=each layer=each", "domain=all,code layer=7", "routing=uniform,trace")
    ]
    stem = "trace:some.counts"
    assert names[0] == [f"{stem}/all/2"]
    assert names[1] == [f"{stem}/text/2", f"{stem}/text/7", f"{stem}/code/2", f"{stem}/code/7"]
    assert names[2] == [f"{stem}/all/7", f"{stem}/code/7"]
    assert names[3] == ["uniform", f"{stem}/all/2"]


def test_batches_share_a_routing_leave_out_what_is_done_and_keep_the_slow_apart() -> None:
    found = study("ranks=2:32:1 policy=aga,lpt,stratified routing=uniform,zipf")
    batches = batches_of(found)
    assert [len(batch.scenarios) for batch in batches] == [TOGETHER, 93 - TOGETHER] * 2
    assert [number for batch in batches for number, _ in batch.scenarios] == list(range(186))
    assert batches_of(found, set(found.ids)) == []
    left = batches_of(found, set(found.ids[5:]))
    assert [number for batch in left for number, _ in batch.scenarios] == [0, 1, 2, 3, 4]
    assert {len(batch.scenarios) for batch in batches_of(study("policy=aga,exact"))} == {1}
