"""What is printed under the table when the device was held back."""

from __future__ import annotations

from mohge.bench.cli.progress import suspect_lines
from mohge.bench.records import CaseRecord, Clocks, Environment, Provenance, Record, Run, Samples, Status


def run(*clocks: Clocks | None, hot: Samples | None = None) -> Run:
    case = CaseRecord("tiny", 4, "uniform", "bfloat16", "cuda")
    records = [Record("triton", Provenance.MEASURED, Status.PASSED, case, clocks=one, hot=hot) for one in clocks]
    return Run([], "2026-01-01T00:00:00+00:00", "", Environment(), records=records)


def test_suspects_are_summed_and_the_rule_is_said() -> None:
    one = Clocks("nvml", 9, throttle={"sw_power_cap": 9, "hw_slowdown": 1}, suspects=2, rule="when it is hot")
    two = Clocks("nvml", 9, throttle={"sw_power_cap": 9}, suspects=3, rule="when it is hot")
    assert suspect_lines(run(one, None, two)) == [
        (
            "\n5 suspect samples, left out of medians while enough others remain; "
            "throttle reasons seen: hw_slowdown, sw_power_cap"
        ),
        "when it is hot",
    ]


def test_without_suspects_nothing_is_said() -> None:
    assert suspect_lines(run(None, Clocks("nvml", 9, throttle={"sw_power_cap": 9}))) == []


def test_launches_in_samples_are_counted() -> None:
    hot = Samples([1.0] * 9, 1.0, 1.0, 1.0, "events", "limit", suspects=[2, 3, 4], unhidden=[3, 4])
    assert suspect_lines(run(None, hot=hot)) == [
        "\n2 samples with launches in them, as the host was too slow: left out likewise"
    ]
