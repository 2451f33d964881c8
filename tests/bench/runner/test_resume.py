"""What is left of an interrupted run, who may go on with it, and that nothing finished is lost or repeated."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from mohge.bench.records import (
    Environment,
    PlacementRecord,
    Plan,
    Provenance,
    Record,
    Roof,
    Run,
    Status,
    load_run,
)
from mohge.bench.runner import session as session_module
from mohge.bench.runner.jobs import Job, Source
from mohge.bench.runner.resume import differences, plan_of, what_is_left
from mohge.bench.runner.session import Session
from mohge.bench.runner.supervisor import LOST, DeviceLostError
from mohge.reference import LayerSpec

SPEC = LayerSpec("tiny", hidden=8, widths=(4, 8), experts_per_group=2, top_k=2, top_groups=1)
NAMES = ("padded_bmm", "torch_loop")
CASES = tuple((tokens, Source("uniform")) for tokens in (1, 2, 3))
JOB = Job(SPEC, "cpu", "float32", "measured", CASES, NAMES, timeout=7.0)
CHECK = Job(SPEC, "cpu", "float32", "simulated", CASES[:1], ("numba",))
RUN = Run(["mohge"], "2026-01-01T00:00:00+00:00", "f00", Environment(), plan=plan_of("cpu", [JOB, CHECK], ["triton"]))


def record(job: Job, case: int, name: str, status: Status = Status.PASSED, **options) -> Record:
    return Record(name, Provenance(job.mode), status, job.case_record(case), **options)


def whole_case(job: Job, case: int) -> list[Record]:
    return [record(job, case, name) for name in job.implementations]


def placement(case: int) -> PlacementRecord:
    return PlacementRecord(JOB.case_record(case), "lpt", 2, [0, 0, 1, 1], [1.0, 1.0], [1.0, 1.0], Provenance.PREDICTED)


def tokens(jobs: tuple[Job, ...]) -> list[tuple[str, list[int], tuple[str, ...]]]:
    return [(job.mode, [count for count, _ in job.cases], job.implementations) for job in jobs]


def test_a_run_that_has_nothing_needs_everything() -> None:
    left = what_is_left(RUN)
    assert left.jobs == (JOB, CHECK)
    assert left.compiled == ("triton",)
    assert left.cases == 4
    assert left.run == RUN


def test_finished_cases_are_not_repeated() -> None:
    run = replace(RUN, records=[*whole_case(JOB, 1), *whole_case(CHECK, 0)], placements=[placement(1)])
    left = what_is_left(run)
    assert tokens(left.jobs) == [("measured", [1, 3], NAMES)]
    assert left.run == run


def test_a_case_half_written_is_done_again_as_a_whole() -> None:
    run = replace(
        RUN,
        records=[*whole_case(JOB, 0), record(JOB, 1, "torch_loop")],
        placements=[placement(0), placement(1)],
    )
    left = what_is_left(run)
    assert tokens(left.jobs)[0] == ("measured", [2, 3], NAMES)
    assert left.run.records == whole_case(JOB, 0)
    assert left.run.placements == [placement(0)]


def test_an_implementation_that_took_its_worker_down_is_not_tried_again() -> None:
    down = [record(JOB, 1, "torch_loop", Status.TIMEOUT), record(JOB, 2, "torch_loop", Status.NOT_RUN)]
    run = replace(RUN, records=[*whole_case(JOB, 0), *down, *whole_case(CHECK, 0)])
    left = what_is_left(run)
    assert tokens(left.jobs) == [("measured", [2, 3], ("padded_bmm",))]
    assert left.run.records == run.records


def test_what_a_lost_device_left_is_done_again() -> None:
    lost = [record(JOB, 2, name, Status.NOT_RUN, notes={LOST: "gone"}) for name in NAMES]
    left = what_is_left(replace(RUN, records=[*whole_case(JOB, 0), *whole_case(JOB, 1), *lost]))
    assert tokens(left.jobs)[0] == ("measured", [3], NAMES)
    assert Counter(r.status for r in left.run.records) == {Status.PASSED: 4}


def test_a_record_written_twice_is_kept_once() -> None:
    left = what_is_left(replace(RUN, records=[*whole_case(JOB, 0), *whole_case(JOB, 0)]))
    assert left.run.records == whole_case(JOB, 0)


def test_nothing_is_left_of_a_finished_run() -> None:
    compiled = Record(
        "triton", Provenance.COMPILED, Status.NOT_RUN, replace(JOB.case_record(0), spec="every configuration", id="")
    )
    records = [r for job in (JOB, CHECK) for case in range(len(job.cases)) for r in whole_case(job, case)]
    left = what_is_left(replace(RUN, records=[*records, compiled]))
    assert left.nothing
    assert left.run.records == [*records, compiled]


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (None, "cannot be resumed"),
        (Plan("cpu", [{"mode": "measured"}]), "job: expected the fields of a job, got KeyError"),
        (Plan("cpu", [{**JOB.to_dict(), "later": 1}]), "job: expected the fields of a job, got TypeError"),
    ],
)
def test_a_run_that_does_not_say_what_was_to_be_done(plan: Plan | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        what_is_left(replace(RUN, plan=plan))


def test_the_plan_holds_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loads.csv").write_text("domain,layer,expert_0,expert_1,expert_2,expert_3\ntext,0,1,2,3,4\n")
    traced = replace(JOB, cases=((4, Source("trace", "loads.csv", "text", 0)),))
    plan = plan_of("cpu", [traced])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run = replace(RUN, plan=plan)
    (job,) = what_is_left(run).jobs
    assert job.case(0).routing == "trace:loads/text/0"
    assert differences(run, Environment(), "f00") == []
    (tmp_path / "loads.csv").write_text("domain,layer,expert_0,expert_1,expert_2,expert_3\ntext,0,4,3,2,1\n")
    assert differences(run, Environment(), "f00") == [f"another {tmp_path / 'loads.csv'}"]


GPU = {"name": "H100", "uuid": "GPU-1", "driver": "580.1", "l2_bytes": 5}
CPU = {"model": "Xeon", "cores": 2, "threads": 2, "memory_bytes": 7}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (Environment(cpu=CPU), Environment(cpu={**CPU, "memory_bytes": 8}, platform="later"), []),
        (Environment(cpu=CPU), Environment(cpu={**CPU, "threads": 1}), ["CPU threads 1 (was 2)"]),
        (Environment(gpu=GPU, cpu=CPU), Environment(gpu=dict(GPU), cpu={**CPU, "threads": 1}), []),
        (Environment(gpu=GPU), Environment(gpu={**GPU, "uuid": "GPU-2"}), ["GPU uuid GPU-2 (was GPU-1)"]),
        (Environment(gpu=GPU), Environment(gpu={**GPU, "driver": "590"}), ["GPU driver 590 (was 580.1)"]),
        (
            Environment(libraries={"torch": "2.11", "numpy": "2"}),
            Environment(libraries={"torch": "2.12", "triton": "3"}),
            ["numpy none (was 2)", "torch 2.12 (was 2.11)", "triton 3 (was none)"],
        ),
        (Environment(python="3.11.1"), Environment(python="3.12.0"), ["Python 3.12.0 (was 3.11.1)"]),
    ],
)
def test_only_what_decides_a_time_makes_another_machine(
    before: Environment, after: Environment, expected: list[str]
) -> None:
    run = replace(RUN, environment=before)
    assert differences(run, after, "f00") == expected
    assert differences(run, after, "0ff") == [*expected, "other kernel sources"]


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch):
    """Stands in for the worker processes: passes every case, until `stop` cases are done."""
    done: list[tuple[int, str]] = []

    def script(stop: int | None = None, how: BaseException | None = None):
        def run_job(job: Job, on_event, *, children):
            if job.roofs:
                on_event({"event": "roof", "roof": {"matmul_tflops": {job.dtype: 2.0}}})
            for case in range(len(job.cases)):
                if how is not None and len(done) == stop:
                    raise how
                counts = [job.cases[case][0]] * SPEC.experts
                on_event(
                    {"event": "counts", "case": json.loads(json.dumps(vars(job.case_record(case)))), "counts": counts}
                )
                yield whole_case(job, case)
                done.append((job.cases[case][0], job.mode))

        monkeypatch.setattr(session_module, "run_job", run_job)
        monkeypatch.setattr(session_module, "compile_ahead", lambda name, children: ([], "no compiler"))
        return done

    return script


def test_an_interrupted_session_resumed_has_everything_once(tmp_path: Path, scripted) -> None:
    done = scripted(2, KeyboardInterrupt())
    session = Session.start(tmp_path, "bench", plan_of("cpu", [JOB, CHECK], ["triton"]), lambda _: None)
    with pytest.raises(KeyboardInterrupt), session:
        session.measure([JOB])
    folder = session.writer.folder
    assert load_run(folder).finished is None
    scripted()
    session, left = Session.resume(folder, lambda _: None)
    with session:
        session.measure(left.jobs[:1])
        session.check(left.jobs[1:], left.compiled)
    run = load_run(folder)
    assert run.finished is not None
    assert Counter((r.provenance, r.implementation, r.case.tokens) for r in run.records) == {
        **{(Provenance.MEASURED, name, count): 1 for name in NAMES for count in (1, 2, 3)},
        (Provenance.SIMULATED, "numba", 1): 1,
        (Provenance.COMPILED, "triton", None): 1,
    }
    assert len(run.placements) == len({(p.case.id, p.policy, p.ranks) for p in run.placements})
    assert {p.case.tokens for p in run.placements} == {1, 2, 3}
    assert run.environment.roof == Roof({"float32": 2.0})
    assert [again["cases"] for again in run.notes["resumed"]] == [2]
    assert done == [(1, "measured"), (2, "measured"), (3, "measured"), (1, "simulated")]


def test_a_finished_run_keeps_no_plan_and_is_not_resumed(tmp_path: Path, scripted) -> None:
    """A plan holds the paths of this machine: they are needed to go on, and in nobody's copy of the run."""
    scripted()
    traced = replace(JOB, cases=((1, Source("uniform")), (2, Source("trace", str(tmp_path / "loads.csv"), "text", 0))))
    (tmp_path / "loads.csv").write_text("domain,layer,expert_0,expert_1,expert_2,expert_3\ntext,0,1,2,3,4\n")
    session = Session.start(tmp_path, "bench", plan_of("cpu", [traced]), lambda _: None)
    assert str(tmp_path) in session.writer.path.read_text(encoding="utf-8")
    with session:
        session.measure([traced])
    written = session.writer.path.read_text(encoding="utf-8")
    assert str(tmp_path) not in written
    assert "trace:loads/text/0" in written
    with pytest.raises(ValueError, match="something left to do, got one that was finished 20"):
        Session.resume(session.writer.folder, lambda _: None)
    assert session.writer.path.read_text(encoding="utf-8") == written


def test_another_machine_is_refused_unless_forced(tmp_path: Path, scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted()
    session = Session.start(tmp_path, "bench", plan_of("cpu", [JOB]), lambda _: None)
    before = session.writer.path.read_bytes()
    monkeypatch.setattr(session_module, "source_hash", lambda: "changed")
    with pytest.raises(ValueError, match=r"what it was started with, got other kernel sources \(see --force\)"):
        Session.resume(session.writer.folder, lambda _: None)
    assert session.writer.path.read_bytes() == before
    Session.resume(session.writer.folder, lambda _: None, force=True)
    assert load_run(session.writer.folder).notes["resumed"][0]["differences"] == ["other kernel sources"]


def test_after_a_lost_device_every_record_is_there_and_the_run_can_go_on(tmp_path: Path, scripted) -> None:
    later = replace(JOB, dtype="float16")
    scripted(1, DeviceLostError("the device is gone: it fell off the bus"))
    session = Session.start(tmp_path, "bench", plan_of("cpu", [JOB, later]), lambda _: None)
    with pytest.raises(DeviceLostError), session:
        session.measure([JOB, later])
    run = load_run(session.writer.folder)
    assert run.finished is None
    not_run = [r for r in run.records if r.status is Status.NOT_RUN]
    assert {r.case.dtype for r in not_run} == {"float16"}
    assert all("fell off the bus" in r.reason and LOST in r.notes for r in not_run)
    left = what_is_left(run)
    assert [len(job.cases) for job in left.jobs] == [2, 3]
    assert {r.status for r in left.run.records} == {Status.PASSED}


def test_an_interrupt_while_several_things_run_ends_them_and_records_none(tmp_path: Path) -> None:
    """The stand-in for Ctrl-C comes from a worker's first event; the threads would otherwise go on for minutes."""
    said = []

    def interrupt(event: dict) -> None:
        said.append(event["event"])
        if event["event"] == "begin":
            raise KeyboardInterrupt

    slow = replace(CHECK, implementations=("padded_bmm",), cases=CASES)
    session = Session.start(tmp_path, "bench", plan_of("cpu", [slow]), interrupt)
    with pytest.raises(KeyboardInterrupt), session:
        session.check([slow], [])
    run = load_run(session.writer.folder)
    assert "begin" in said
    assert (run.records, run.finished) == ([], None)
