"""Recorded routing: what it promises, what it fits, and what is said about a file that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mohge.bench.workloads import (
    Case,
    open_trace,
    parse_routing,
    routing_counts,
    trace_domains,
    trace_fits,
    trace_layers,
)
from mohge.reference import LayerSpec

SPEC = LayerSpec("eight", hidden=4, widths=(3, 5), experts_per_group=4, top_k=2, top_groups=2)


def tokens_arrays(**changes: Any) -> dict[str, Any]:
    """Nine tokens of three samples, two layers, two of eight experts; odd on purpose."""
    generator = np.random.default_rng(0)
    ids = np.array([[generator.permutation(8)[:2] for _ in range(2)] for _ in range(9)], dtype=np.uint8)
    return {
        "expert_ids": ids,
        "sample_start": np.array([0, 4, 6, 9]),
        "domain": np.array(["maths/a", "prose", "maths/b"]),
        "experts": np.array(8),
        "layers": np.array([0, 5]),
        **changes,
    }


def write_tokens(folder: Path, **changes: Any) -> Path:
    path = folder / "small.topk.npz"
    np.savez(path, **{key: value for key, value in tokens_arrays(**changes).items() if value is not None})
    return path


HEADER = "domain,layer," + ",".join(f"expert_{expert}" for expert in range(8))


def write_counts(folder: Path, *lines: str, header: str = HEADER) -> Path:
    path = folder / "small.counts.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def test_a_per_token_trace_gives_tokens_that_followed_one_another(tmp_path: Path) -> None:
    path, arrays = write_tokens(tmp_path), tokens_arrays()
    recorded = arrays["expert_ids"][:, 1].tolist()
    for step in range(5):
        ids = parse_routing("trace", trace=path, layer=5).routing(SPEC, 4, step=step).expert_ids.tolist()
        assert any(ids == [recorded[(start + token) % 9] for token in range(4)] for start in range(9))


def test_whole_passes_of_a_per_token_trace_keep_its_marginals(tmp_path: Path) -> None:
    workload = parse_routing("trace", trace=write_tokens(tmp_path))
    assert workload.trace is not None
    got = routing_counts(workload.routing(SPEC, 27), 8)
    np.testing.assert_array_equal(got, 3 * workload.trace.counts())
    np.testing.assert_array_equal(
        workload.trace.counts(), np.bincount(tokens_arrays()["expert_ids"][:, 0].ravel(), minlength=8)
    )


@pytest.mark.parametrize(("domain", "tokens"), [(None, 9), ("prose", 2), ("maths", 7), ("MATHS/B", 3)])
def test_domains_are_chosen_by_name_or_by_a_part_of_it(tmp_path: Path, domain: str | None, tokens: int) -> None:
    ids = open_trace(write_tokens(tmp_path), domain, 0).token_experts()
    assert ids is not None
    assert ids.shape == (tokens, 2)


def test_counts_are_sampled_so_that_shares_hold_for_any_k(tmp_path: Path) -> None:
    path = write_counts(tmp_path, "web,3,10,20,30,40,0,0,50,50", "code,3,1,1,1,1,1,1,1,1")
    for top_k, tokens in ((1, 100), (2, 101), (3, 7), (1, 1), (3, 0)):
        spec = LayerSpec("k", hidden=4, widths=(3, 5), experts_per_group=4, top_k=top_k, top_groups=2)
        got = routing_counts(parse_routing("trace", trace=path, domain="web").routing(spec, tokens), 8)
        exact = np.array([10, 20, 30, 40, 0, 0, 50, 50]) / 200 * tokens * top_k
        assert (np.abs(got - exact) < 1.001).all()
        assert not got[4:6].any()


def test_sampling_counts_is_unbiased_at_one_token(tmp_path: Path) -> None:
    workload = parse_routing("trace", trace=write_counts(tmp_path, "web,3,10,20,30,40,0,0,50,50"))
    total = sum(routing_counts(workload.routing(SPEC, 1, step=step), 8) for step in range(500))
    np.testing.assert_allclose(np.asarray(total) / 1000, np.array([10, 20, 30, 40, 0, 0, 50, 50]) / 200, atol=0.04)


def test_domains_of_counts_add_up(tmp_path: Path) -> None:
    path = write_counts(tmp_path, "web,3,1,2,3,4,5,6,7,8", "code,3,10,10,10,10,10,10,10,10")
    assert open_trace(path).counts().tolist() == [11, 12, 13, 14, 15, 16, 17, 18]
    assert trace_domains(path) == ["web", "code"]
    assert trace_layers(path) == [3]


def test_a_trace_says_what_it_fits(tmp_path: Path) -> None:
    per_token, counts = write_tokens(tmp_path), write_counts(tmp_path, "web,3,1,2,3,4,5,6,7,8")
    mixtral, three = LayerSpec.preset("mixtral-8x7b"), LayerSpec.preset("mohge-3b")
    assert trace_fits(per_token, mixtral)
    assert not trace_fits(per_token, LayerSpec("k3", hidden=4, widths=(3,), experts_per_group=8, top_k=3, top_groups=1))
    assert trace_fits(counts, LayerSpec("k3", hidden=4, widths=(3,), experts_per_group=8, top_k=3, top_groups=1))
    for path, has in ((per_token, "8 experts, top 2"), (counts, "8 experts")):
        with pytest.raises(
            ValueError, match=f"the trace has {has}; mohge-3b has 64 experts, top 6. It fits mixtral-8x7b$"
        ):
            parse_routing("trace", trace=path).routing(three, 5)


@pytest.mark.parametrize(
    ("domain", "layer", "message"),
    [
        ("web", 4, "unknown layer 4; the trace has 3, 7"),
        ("code", 7, "unknown layer 7 for domain code; the trace has 3"),
        ("wob", 3, r"unknown domain 'wob'; did you mean 'web'\? The trace has web, code"),
        ("", 3, "unknown domain ''. The trace has web, code"),
    ],
)
def test_unknown_domains_and_layers(tmp_path: Path, domain: str, layer: int, message: str) -> None:
    path = write_counts(tmp_path, "web,3" + ",1" * 8, "web,7" + ",1" * 8, "code,3" + ",1" * 8)
    with pytest.raises(ValueError, match=message):
        open_trace(path, domain, layer)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "line 2: expected a line of counts"),
        (["web,3,1,2"], "line 2: expected 10 cells, got 4"),
        (["web,3" + ",1" * 8, "web,x" + ",1" * 8], "line 3: layer: expected a whole number of at least 0, got 'x'"),
        (["web,3,1,2,-3,4,5,6,7,8"], "line 2: expert_2: expected a whole number of at least 0, got '-3'"),
        (["web,3,1,2,3.5,4,5,6,7,8"], "line 2: expert_2"),
        (["web,3" + ",0" * 8], "line 2: expected at least one row"),
        (["web,3" + ",1" * 8] * 2, "line 3: web layer 3 was told before"),
    ],
)
def test_malformed_counts_are_named_by_line(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_trace(write_counts(tmp_path, *lines))


@pytest.mark.parametrize("header", ["", "domain,layer", "domain,layer,expert_1", "layer,domain,expert_0"])
def test_a_wrong_header_is_refused(tmp_path: Path, header: str) -> None:
    with pytest.raises(ValueError, match="line 1: expected "):
        open_trace(write_counts(tmp_path, header=header))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": None}, "expected arrays expert_ids, sample_start, domain, experts, layers; missing layers"),
        ({"expert_ids": np.zeros((9, 4))}, r"expert_ids: expected integer\[tokens, layers, K\], got float64\[9, 4\]"),
        ({"layers": np.arange(3)}, "layers: expected one number for each of 2 layers"),
        ({"experts": np.array(0)}, "experts: expected one positive whole number"),
        ({"domain": np.arange(3)}, r"domain: expected text\[samples\]"),
        ({"domain": np.array(["a"])}, "sample_start: expected 2 numbers"),
        ({"sample_start": np.array([0, 4, 6, 8])}, "sample_start: expected numbers rising from 0 to 9"),
        ({"domain": np.array([None, 1, 2], dtype=object)}, "small.topk.npz: "),
    ],
)
def test_malformed_per_token_files(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_trace(write_tokens(tmp_path, **changes))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([8, 1], r"expected expert ids from 0 to 7, got \[8, 1\] at token 6, layer 5"),
        ([3, 3], r"expected distinct experts, got \[3, 3\] at token 6, layer 5"),
    ],
)
def test_impossible_expert_ids_are_named_by_token(tmp_path: Path, bad: list[int], message: str) -> None:
    ids = tokens_arrays()["expert_ids"]
    ids[6, 1] = bad
    workload = parse_routing("trace", trace=write_tokens(tmp_path, expert_ids=ids), domain="maths", layer=5)
    with pytest.raises(ValueError, match=message):
        workload.routing(SPEC, 3)


def test_files_that_are_no_traces(tmp_path: Path) -> None:
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 cut off")
    (tmp_path / "plain.npz").write_text("hello")
    with (tmp_path / "array.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    for name, message in (
        ("absent.csv", "cannot be read: No such file"),
        ("broken.npz", "broken.npz: not a per-token trace"),
        ("plain.npz", "plain.npz: not a per-token trace"),
        ("array.npz", "array.npz: not a per-token trace"),
        ("notes.txt", "expected a trace .per token. or loads .rows per expert. ending in .csv, .json, "),
        ("bytes.csv", "not a CSV file"),
    ):
        with pytest.raises(ValueError, match=message):
            open_trace(tmp_path / name)


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    path = write_counts(tmp_path, "web,3" + ",1" * 8)
    assert open_trace(path).counts().sum() == 8
    write_counts(tmp_path, "web,3" + ",11" * 8)
    assert open_trace(path).counts().sum() == 88


def test_trace_options_need_a_trace(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'uniform': trace and layer go with the routing 'trace' only"):
        parse_routing("uniform", trace=tmp_path, layer=1)
    with pytest.raises(ValueError, match="'trace': expected no numbers, got '3'"):
        parse_routing("trace:3", trace=write_tokens(tmp_path))


def test_the_name_carries_file_domain_and_layer(tmp_path: Path) -> None:
    workload = parse_routing("trace", trace=write_tokens(tmp_path), domain="maths", layer=5)
    assert workload.name == "trace:small.topk/maths/5"
    assert parse_routing("trace", trace=write_tokens(tmp_path)).name == "trace:small.topk/all/0"
    case = Case(SPEC, 3, workload)
    assert case.inputs().routing.expert_ids.shape == (3, 2)
    assert case.case_id.startswith("eight-t3-trace_small.topk_maths_5-float32-cpu-")


def test_real_per_token_routing(shared_data: Path) -> None:
    path = shared_data / "gpt-oss-20b.topk.npz"
    spec = LayerSpec.preset("gpt-oss-20b-hetero")
    workload = parse_routing("trace", trace=path, domain="mmlu_test", layer=7)
    assert workload.trace is not None
    recorded = workload.trace.token_experts()
    assert recorded is not None
    np.testing.assert_array_equal(routing_counts(workload.routing(spec, len(recorded)), 32), workload.trace.counts())
    assert len(trace_domains(path)) == 146
    assert trace_layers(path) == list(range(24))


def test_real_counts_fit_mohge_3b(shared_data: Path) -> None:
    path = shared_data / "olmoe-1b-7b.counts.csv"
    spec = LayerSpec.preset("mohge-3b")
    for domain in ("arxiv", "c4", "github"):
        for layer in (0, 7, 15):
            workload = parse_routing("trace", trace=path, domain=domain, layer=layer)
            assert workload.trace is not None
            counts = workload.trace.counts()
            got = routing_counts(workload.routing(spec, 1001), 64)
            assert (np.abs(got - counts / counts.sum() * 6006) < 1.001).all()
