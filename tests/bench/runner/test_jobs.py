"""Jobs survive the way to the worker; grids take what fits; devices and dtypes are checked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mohge.bench.peers import PEERS
from mohge.bench.runner.grids import (
    TraceChoice,
    check_device,
    check_dtype,
    check_implementations,
    check_used,
    default_jobs,
    scaled_jobs,
)
from mohge.bench.runner.jobs import Job, Source, TimingLimits, scaled_down
from mohge.bench.runner.placing import place_loads, placement_row
from mohge.kernels import IMPLEMENTATIONS
from mohge.reference import LayerSpec


def counts_csv(path: Path, experts: int) -> Path:
    header = ",".join(["domain", "layer", *(f"expert_{e}" for e in range(experts))])
    path.write_text(f"{header}\ntext,3,{','.join(str(1 + e) for e in range(experts))}\n", encoding="utf-8")
    return path


def test_job_survives_json() -> None:
    spec = LayerSpec.preset("mohge-3b")
    cases = ((5, Source("zipf:1.5")), (0, Source("trace", "t.csv", "text", 3)))
    job = Job(
        spec, "cpu", "float16", "interpreted", cases, ("triton",), TimingLimits(1.0, 2, 3, 0.5, timer="graph"), seed=7
    )
    assert Job.from_dict(json.loads(json.dumps(job.to_dict()))) == job


def test_the_timer_reaches_every_job_of_a_run() -> None:
    jobs = default_jobs("cuda", TraceChoice(()), minutes=1.0, timer="cupti")
    assert {job.limits.timer for job in jobs} == {"cupti"}


def test_without_leaves_the_rest() -> None:
    spec = LayerSpec.preset("mohge-3b")
    job = Job(spec, "cpu", "float32", "measured", tuple((t, Source("uniform")) for t in (1, 2, 3)), ("a", "b"))
    rest = job.without("a", 1)
    assert rest.implementations == ("b",)
    assert [tokens for tokens, _ in rest.cases] == [2, 3]


def test_scaled_down_is_named_and_valid() -> None:
    spec = scaled_down(LayerSpec.preset("mohge-3b"), 32)
    assert (spec.name, spec.hidden, spec.widths[0], spec.experts) == ("mohge-3b/32", 32, 12, 64)
    smaller = scaled_down(LayerSpec.preset("mohge-3b"), 32, experts_per_group=1)
    assert (smaller.experts, smaller.top_k) == (8, 4)
    assert "N=1" in smaller.name


def test_default_jobs_take_a_trace_where_it_fits(tmp_path: Path) -> None:
    trace = TraceChoice((counts_csv(tmp_path / "loads.counts.csv", 64),))
    jobs = default_jobs("cpu", trace, minutes=1)
    assert [job.spec.name for job in jobs] == ["mohge-3b", "mohge-3b-uniform"]
    assert {source.text for job in jobs for _, source in job.cases} == {"router", "trace"}
    assert all(job.mode == "measured" for job in jobs)
    check_used(trace, jobs)
    with_scaled = scaled_jobs(trace)
    assert {job.mode for job in with_scaled} == {"interpreted", "simulated"}
    assert any(source.trace for job in with_scaled for _, source in job.cases)


def test_without_trace_a_named_distribution_stands_in() -> None:
    jobs = default_jobs("cpu", TraceChoice(()), minutes=1)
    assert {source.text for job in jobs for _, source in job.cases} == {"router", "zipf:1.0"}


def test_trace_that_fits_nothing_says_what_would_fit(tmp_path: Path) -> None:
    trace = TraceChoice((counts_csv(tmp_path / "loads.csv", 8),))
    with pytest.raises(ValueError, match="It fits mixtral-8x7b"):
        check_used(trace, default_jobs("cpu", trace, minutes=1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: check_device("gpu"), "expected auto, cpu, cuda or cuda:N, got 'gpu'"),
        (lambda: check_device("cuda:99"), "got 'cuda:99'"),
        (lambda: check_dtype("fp8", "cpu"), "expected auto, float32, float16, bfloat16, got 'fp8'"),
        (lambda: check_implementations("torch_lop"), "did you mean 'torch_loop'"),
    ],
)
def test_bad_choices_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_place_loads_rows_agree_with_each_other() -> None:
    spec = LayerSpec.preset("mohge-3b")
    counts = np.random.default_rng(0).integers(1, 100, spec.experts)
    rows = [placement_row(placement) for placement in place_loads(spec, counts, 8, ["aga", "lpt"], "float32")]
    for row in rows:
        work = np.zeros(8)
        np.add.at(work, row["rank_of"], counts * 6 * spec.hidden * spec.expert_widths)
        np.testing.assert_allclose(row["work"], work)
        assert row["memory"] == [4 * count for count in row["parameters"]]
        assert row["straggler"] == int(work.argmax())
        assert row["work_max_over_mean"] == pytest.approx(work.max() / work.mean())
        assert row["work_over_bound"] >= 1
    assert rows[0]["memory_max_over_mean"] == pytest.approx(1.0)


def test_a_gpu_run_has_every_implementation_and_the_peers_where_asked() -> None:
    own = default_jobs("cuda", TraceChoice(()), minutes=1)
    assert own[0].implementations == tuple(IMPLEMENTATIONS)
    assert "numba_mma" in own[0].implementations
    names = check_implementations("all,peers,triton")
    assert names == (*IMPLEMENTATIONS, *PEERS)
    assert default_jobs("cuda", TraceChoice(()), minutes=1, implementations=names)[0].implementations == names
