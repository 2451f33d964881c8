"""A run of an older schema loads as the present one has it, or says exactly why not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mohge.bench.records import SCHEMA, RunWriter, load_run
from mohge.bench.records.upgrades import UPGRADES, upgraded

OLD = Path(__file__).parent / "data" / "schema-1.json"


def test_there_is_a_step_from_every_schema_to_the_next() -> None:
    assert list(UPGRADES) == list(range(1, SCHEMA))


def test_free_clocks_and_telemetry_of_schema_1_are_kept_among_the_notes() -> None:
    run = load_run(OLD)
    free, plain = run.records
    assert run.schema == SCHEMA
    assert free.clocks is None
    assert free.telemetry is None
    assert free.notes == {
        "kept": "as it was",
        "clocks": {"sm_mhz": [1980, 1755], "throttle": "power cap"},
        "telemetry": {"power_w": 412.5},
    }
    assert plain.notes == {}
    assert plain.hot is not None
    assert plain.hot.median_us == json.loads(OLD.read_text())["records"][1]["hot"]["median_us"]
    assert len(run.placements) == 1
    assert run.plan is None


def test_what_already_had_the_named_fields_stays() -> None:
    clocks = {"source": "nvml", "samples": 3, "sm_mhz": 1980.0}
    telemetry = {"source": "nvml", "samples": 3, "window_s": 2.0}
    table = json.loads(OLD.read_text())
    table["records"][0] |= {"clocks": clocks, "telemetry": telemetry}
    record = upgraded(table)["records"][0]
    assert (record["clocks"], record["telemetry"], record["notes"]) == (clocks, telemetry, {"kept": "as it was"})


def test_an_upgraded_run_is_written_with_the_present_schema(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(OLD.read_text())
    before = load_run(tmp_path)
    RunWriter.resume(tmp_path).finish()
    assert json.loads((tmp_path / "run.json").read_text())["schema"] == SCHEMA
    assert load_run(tmp_path).records == before.records


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"records": 5}, r"run\.records: expected a list, got 5"),
        ({"records": ["x"]}, r"run\.records\[0\]: expected an object, got \"x\""),
        ({"records": [{"clocks": {}, "notes": 3}]}, r"run\.records\[0\]"),
    ],
)
def test_an_old_file_with_a_wrong_value_says_where(tmp_path: Path, change: dict, message: str) -> None:
    (tmp_path / "run.json").write_text(json.dumps({**json.loads(OLD.read_text()), **change}))
    with pytest.raises(ValueError, match=message):
        load_run(tmp_path)
