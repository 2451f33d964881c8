"""The table of tuned configurations: what a row is, which row a launch gets, and what a broken table says."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mohge.kernels import tuned
from mohge.kernels.tuned import (
    TunedRow,
    forget,
    ladder,
    lookup,
    read_table,
    routing_class,
    spec_class,
    token_bucket,
    write_table,
)
from mohge.reference import LayerSpec

SPEC = LayerSpec.preset("mohge-3b")
ROW = TunedRow("triton", "GPU", spec_class(SPEC), 1024, "any", "bfloat16", {"a": 1}, "synthetic", "run.json", 12.5)


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of the table in force; nothing is there yet."""
    path = tmp_path / "table.json"
    monkeypatch.setenv("MOHGE_TUNED", str(path))
    return path


def asked(tokens: int, routing: str = "any", **changes: Any) -> Any:
    words = {"implementation": "triton", "gpu": "GPU", "spec": SPEC, "dtype": "bfloat16", **changes}
    return lookup(words["implementation"], words["gpu"], words["spec"], tokens, routing, words["dtype"])


# ---- what decides a launch


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mohge-3b", "h1024-w384..1280x8-e64-k6"),
        ("mohge-3b-uniform", "h1024-w1024-e64-k6"),
        ("qwen3-30b-a3b", "h2048-w768-e128-k8"),
    ],
)
def test_spec_class_of_presets(name: str, expected: str) -> None:
    assert spec_class(LayerSpec.preset(name)) == expected


def test_specs_of_equal_shape_share_a_class_and_others_do_not() -> None:
    spec = LayerSpec("one", 64, (8, 8, 24), 2, 2, 2)
    same = [
        replace(spec, name="another", shared_width=7, top_groups=3),
        replace(spec, widths=(24, 8, 8)),
        LayerSpec("twice the groups", 64, (8, 8, 8, 8, 24, 24), 1, 2, 2),
    ]
    others = [
        replace(spec, hidden=65),
        replace(spec, top_k=3),
        replace(spec, experts_per_group=4),
        replace(spec, widths=(8, 24, 24)),
        replace(spec, widths=(8, 16, 24)),
        replace(spec, widths=(8, 9, 24)),
    ]
    assert {spec_class(each) for each in same} == {spec_class(spec)} == {"h64-w8*2+24-e6-k2"}
    assert len({spec_class(each) for each in (spec, *others)}) == 1 + len(others)


@pytest.mark.parametrize(("tokens", "bucket"), [(0, 1), (1, 1), (2, 2), (3, 4), (4, 4), (16384, 16384), (16385, 32768)])
def test_token_bucket_is_the_next_power_of_two(tokens: int, bucket: int) -> None:
    assert token_bucket(tokens) == bucket


def test_token_bucket_refuses_a_negative_number() -> None:
    with pytest.raises(ValueError, match="tokens: expected 0 or more, got -1"):
        token_bucket(-1)


@pytest.mark.parametrize("tokens", [0, 1, 16, 64, 4096])
def test_random_routings_are_balanced_at_every_size(tokens: int) -> None:
    generator = np.random.default_rng(tokens)
    ids = np.argsort(generator.random((tokens, 64)), axis=1)[:, :6]
    assert routing_class(np.bincount(ids.reshape(-1), minlength=64)) == "balanced"


@pytest.mark.parametrize("tokens", [64, 4096])
def test_popular_experts_make_a_routing_skewed(tokens: int) -> None:
    generator = np.random.default_rng(tokens)
    favour = np.log(1 / np.arange(1, 65))  # Zipf
    ids = np.argsort(-favour - generator.gumbel(size=(tokens, 64)), axis=1)[:, :6]
    assert routing_class(np.bincount(ids.reshape(-1), minlength=64)) == "skewed"
    hot = np.zeros(64, dtype=np.int64)
    hot[3:9] = tokens
    assert routing_class(hot) == "skewed"


# ---- which row


def test_nothing_is_found_in_the_table_of_the_package_for_no_gpu() -> None:
    assert all(row.provenance == "measured" for row in read_table(tuned.TABLE))
    assert all(row.gpu != "cpu" for row in read_table(tuned.TABLE))


def test_own_bucket_then_the_nearest_then_any_then_nothing(table: Path) -> None:
    rows = [
        replace(ROW, values={"found": "any 1024"}),
        replace(ROW, routing_class="skewed", tokens=64, values={"found": "skewed 64"}),
        replace(ROW, routing_class="skewed", tokens=256, values={"found": "skewed 256"}),
    ]
    write_table(rows, table)

    def found(tokens: int, routing: str) -> str | None:
        values = asked(tokens, routing)
        return None if values is None else values["found"]

    assert found(200, "skewed") == "skewed 256"
    assert found(33, "skewed") == "skewed 64"
    assert found(100, "skewed") == "skewed 64"  # as near as 256: the smaller
    assert found(1024, "skewed") == "skewed 256"  # its own class from two buckets away, before "any"
    assert found(2000, "skewed") == "any 1024"
    assert found(1, "skewed") is None
    assert found(4096, "any") == "any 1024"
    assert found(4097, "any") is None
    assert found(256, "balanced") == "any 1024"
    assert found(64, "any") is None  # what was tuned for a skewed routing is not for every one


@pytest.mark.parametrize(
    "change",
    [
        {"implementation": "cupy"},
        {"gpu": "GPU 2"},
        {"dtype": "float16"},
        {"spec": LayerSpec.preset("mohge-3b-uniform")},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_row_for_something_else_is_not_taken(table: Path, change: dict[str, Any]) -> None:
    write_table([ROW], table)
    assert asked(1024) == {"a": 1}
    assert asked(1024, **change) is None


def test_a_changed_file_is_read_again(table: Path) -> None:
    write_table([ROW], table)
    assert asked(1024) == {"a": 1}
    write_table([replace(ROW, values={"a": 20})], table)
    assert asked(1024) == {"a": 20}
    times = table.stat()
    write_table([replace(ROW, values={"a": 30})], table)
    os.utime(table, ns=(times.st_atime_ns, times.st_mtime_ns))  # looks the same
    forget()
    assert asked(1024) == {"a": 30}


def test_unknown_routing_class_is_refused(table: Path) -> None:
    write_table([], table)
    with pytest.raises(ValueError, match="routing_class: expected one of any, balanced, skewed, got 'zipf'"):
        ladder("triton", "GPU", SPEC, "zipf", "bfloat16")


# ---- the file


def test_written_rows_are_read_back_in_the_order_of_their_keys(table: Path) -> None:
    rows = [
        replace(ROW, tokens=64, time_us=None),
        replace(ROW, implementation="cupy", values={"v": "mma", "b": True}),
        ROW,
    ]
    write_table(rows, table)
    assert read_table() == (rows[1], rows[0], rows[2])
    write_table(json.loads(table.read_text())["rows"], table)  # plain tables of fields do too
    assert read_table(str(table)) == (rows[1], rows[0], rows[2])
    assert [path.name for path in table.parent.iterdir()] == [table.name]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": 1000}, "tokens: expected a power of two"),
        ({"tokens": True}, "tokens: expected a power of two"),
        ({"routing_class": "zipf"}, "routing_class: expected one of any, balanced, skewed, got 'zipf'"),
        ({"provenance": "guessed"}, "provenance: expected one of measured"),
        ({"values": {}}, "values: expected whole numbers and texts by parameter name"),
        ({"values": {"a": 1.5}}, "values: expected whole numbers and texts by parameter name"),
        ({"gpu": ""}, "gpu: expected a text, got ''"),
        ({"time_us": 0}, "time_us: expected a time in microseconds above 0"),
        ({"speed": 3}, "row: expected the fields implementation, .* got speed, which is no field"),
        ({"source": None}, "source: expected a text, got None"),
    ],
    ids=str,
)
def test_a_row_that_is_none_is_named(table: Path, change: dict[str, Any], message: str) -> None:
    write_table([ROW], table)
    row = json.loads(table.read_text())["rows"][0]
    table.write_text(json.dumps({"tuned": 1, "rows": [{**row, "tokens": 2}, {**row, **change}]}))
    with pytest.raises(ValueError, match=f"tuned table .*table.json, row 1: {message}"):
        read_table()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected JSON"),
        ("[]", 'expected {"tuned": 1, "rows"'),
        ('{"tuned": 2, "rows": []}', 'expected {"tuned": 1, "rows"'),
        ('{"tuned": 1, "rows": [{}]}', "row 0: row: expected the fields .* got no dtype"),
    ],
)
def test_a_file_that_is_no_table_is_named(table: Path, text: str, message: str) -> None:
    table.write_text(text)
    with pytest.raises(ValueError, match=f"tuned table .*table.json.*{message}"):
        asked(1)


def test_a_missing_table_and_two_rows_for_the_same_launches_are_refused(table: Path) -> None:
    with pytest.raises(ValueError, match=r"table.json: cannot be read: No such file"):
        asked(1)
    with pytest.raises(ValueError, match="expected one row for the same launches"):
        write_table([ROW, replace(ROW, values={"a": 2})], table)
    assert not table.exists()
