"""The command of every record: a shell takes it, and it names the very case that the record is of."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer.main

from mohge.bench.cli.app import app
from mohge.bench.records import Provenance, Run, Speedup
from mohge.bench.report.commands import command
from mohge.bench.report.record_rows import HEADER, record_rows
from mohge.bench.workloads import Case, parse_routing
from mohge.reference import LayerSpec

OWN = LayerSpec('my "own" layer/2', hidden=64, widths=(16, 48), experts_per_group=2, top_k=2, top_groups=2)
BENCH = typer.main.get_command(app).commands["bench"]  # type: ignore[attr-defined]


def options_of(line: str, folder: Path) -> dict[str, Any]:
    """What `mohge bench` reads from the line, once a shell in `folder` has done what stands before it."""
    before, _, rest = line.rpartition(" && ")
    if before:
        subprocess.run(["sh", "-c", before], cwd=folder, check=True)
    mohge, bench, *words = shlex.split(rest)
    assert (mohge, bench) == ("mohge", "bench")
    return BENCH.make_context("bench", words).params


def record_of(build: Any, case: Case, **more: Any) -> Any:
    return build.passed("torch_loop", case.to_record(), 9, **more)


@pytest.mark.parametrize("spec", [OWN, LayerSpec.preset("mohge-3b")])
@pytest.mark.parametrize("routing", ["router", "zipf:1.2", "hot_set:0.25,0.5"])
def test_the_command_names_the_very_case(build: Any, spec: LayerSpec, routing: str, tmp_path: Path) -> None:
    case = Case(spec, 48, parse_routing(routing), "float32", "cpu", seed=3, step=2)
    read = options_of(command(record_of(build, case), build.run([])), tmp_path)
    preset = spec is not OWN
    layer = LayerSpec.preset(read["spec"]) if preset else LayerSpec.from_toml(tmp_path / read["spec"])
    (text,) = read["routing"]
    again = Case(
        layer, int(read["tokens"]), parse_routing(text), read["dtype"], read["device"], read["seed"], read["step"]
    )
    assert again.case_id == case.case_id
    assert read["implementations"] == "torch_loop"


def test_the_baseline_comes_with_a_ratio_and_the_timing_as_it_was(build: Any, tmp_path: Path) -> None:
    hot = replace(build.samples(100), timer="graph")
    record = build.passed("triton", build.case(device="cuda"), 9, speedup=Speedup("padded_bmm", 2, 1, 3), hot=hot)
    record = replace(record, case=replace(record.case, layer=LayerSpec.preset("mohge-3b").to_dict()))
    run = build.run([record], command=["mohge", "bench", "--seconds", "0.5"])
    read = options_of(command(record, run), tmp_path)
    assert (read["implementations"], read["timer"], read["seconds"]) == ("triton,padded_bmm", "graph", 0.5)
    usual = replace(record, hot=replace(hot, timer="events"))
    assert "--timer" not in command(usual, run)
    assert "--seconds" not in command(record, build.run([], command=["mohge", "run", "--seconds", "1"]))


@pytest.mark.parametrize(("domain", "options"), [("all", []), ("a b", ["--domain", "a b"])])
def test_a_trace_is_named_where_the_run_named_its_file(build: Any, domain: str, options: list[str]) -> None:
    where = build.case(routing=f"trace:some.counts/{domain}/7", layer=LayerSpec.preset("mohge-3b").to_dict())
    record = build.passed("torch_loop", where, 9)
    given = build.run([record], command=["mohge", "bench", "--trace", "old/some.counts.csv"])
    words = shlex.split(command(record, given))
    assert words[words.index("--trace") :][: 4 + len(options)] == [
        *("--trace", "old/some.counts.csv"),
        *options,
        *("--layer", "7"),
    ]
    assert command(record, build.run([record])) == "mohge run --minutes 2"


def test_what_only_a_whole_run_makes_has_its_command(build: Any) -> None:
    interpreted = replace(build.passed("triton", build.case(), 9), provenance=Provenance.INTERPRETED)
    unknown = build.passed("torch_loop", replace(build.case(), spec="mine", layer={}), 9)
    for record in (interpreted, unknown, build.compiled("triton", 0)):
        assert command(record, build.run([])) == "mohge run --minutes 2"


def test_every_record_of_a_run_has_a_command(believable: Run) -> None:
    place = HEADER.index("command")
    assert all(row[place] for row in record_rows(believable))
