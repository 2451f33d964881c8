"""Recorded routing in every format: what is read, which format it is told to be, and what is said of a broken file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mohge.placement import CountsFile, TokensFile, read_recorded

# The two layers of EPLB's published example have this shape; the numbers here are our own.
WEIGHT = [[9, 13, 4, 6], [2, 10, 0, 7]]
NO_ROWS = "expected a whole number of rows of at least 0"
OTHER_MODE = "; record with --expert-distribution-recorder-mode stat"


def write_json(folder: Path, value: Any, name: str = "loads.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def write_array(folder: Path, value: Any, name: str = "array.npy") -> Path:
    np.save(folder / name, np.asarray(value))
    return folder / name


def record(layer: Any, indices: Any, **more: Any) -> dict[str, Any]:
    """One line as Megatron-LM's RouterTracer writes it."""
    told = {"num_tokens": len(indices), "topk": len(indices[0])} if indices else {"num_tokens": 0, "topk": 2}
    return {
        "step": 0,
        "stage": "pre_dispatch",
        "block": "decoder",
        "layer": layer,
        "rank": 0,
        **told,
        "top_indices": indices,
        **more,
    }


def write_lines(folder: Path, *records: Any, name: str = "router_trace_rank0.jsonl") -> Path:
    path = folder / name
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in records) + "\n")
    return path


def counts_of(recorded: Any) -> dict[int, list[int]]:
    return {layer: recorded.counts([domain], layer).tolist() for domain, layer in recorded.lines}


class TestTables:
    @pytest.mark.parametrize("value", [WEIGHT, {"weight": WEIGHT, "num_replicas": 6}])
    def test_eplb_weights_in_json(self, tmp_path: Path, value: Any) -> None:
        recorded = read_recorded(write_json(tmp_path, value), experts=4)
        assert isinstance(recorded, CountsFile)
        assert counts_of(recorded) == {0: WEIGHT[0], 1: WEIGHT[1]}
        assert (recorded.domains, recorded.experts, recorded.top_k, recorded.origin) == (
            ("all",),
            4,
            None,
            "EPLB weights",
        )

    @pytest.mark.parametrize("dtype", [np.float32, np.int32, np.uint8])
    def test_eplb_weights_as_an_array_of_any_numbers(self, tmp_path: Path, dtype: Any) -> None:
        path = write_array(tmp_path, np.array(WEIGHT, dtype=dtype))
        assert counts_of(read_recorded(path, "eplb")) == {0: WEIGHT[0], 1: WEIGHT[1]}

    def test_one_line_is_one_layer(self, tmp_path: Path) -> None:
        assert counts_of(read_recorded(write_array(tmp_path, WEIGHT[0]))) == {0: WEIGHT[0]}
        assert counts_of(read_recorded(write_json(tmp_path, WEIGHT[0]))) == {0: WEIGHT[0]}

    def test_the_published_example_of_eplb(self, shared_data: Path) -> None:
        recorded = read_recorded(shared_data / "eplb-example.json", experts=12)
        assert counts_of(recorded)[0] == [90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86]
        assert recorded.layers == (0, 1)

    def test_sglang_adds_up_passes_and_leaves_out_dense_layers(self, tmp_path: Path) -> None:
        passes = np.zeros((3, 4, 4), dtype=int)
        passes[0, 1:3] = WEIGHT
        passes[1, 2] = [1, 1, 1, 1]
        recorded = read_recorded(write_json(tmp_path, {"logical_count": passes.tolist(), "rank": 0}), experts=4)
        assert counts_of(recorded) == {1: [9, 13, 4, 6], 2: [3, 11, 1, 8]}
        assert recorded.origin == "SGLang logical_count, 2 forward passes added up; 2 layers without rows left out"

    def test_sglang_without_passes(self, tmp_path: Path) -> None:
        recorded = read_recorded(write_json(tmp_path, {"logical_count": WEIGHT}))
        assert counts_of(recorded) == {0: WEIGHT[0], 1: WEIGHT[1]}

    def test_csv_may_leave_out_the_domain(self, tmp_path: Path) -> None:
        path = tmp_path / "counts.csv"
        path.write_text("layer,expert_0,expert_1\n3,5,0\n4,1,1\n")
        recorded = read_recorded(path)
        assert recorded.lines == (("all", 3), ("all", 4))
        assert counts_of(recorded) == {3: [5, 0], 4: [1, 1]}

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ([], "weight: expected numbers [layer, expert], got float64 [0]"),
            ([[1, 2], [3]], "weight[1]: expected 2 entries as in [0], got 1"),
            ([[1, 2], 3], "weight[1]: expected a list, got 3"),
            ([[1, "a"], [1, 2]], 'weight[0][1]: expected a number, got "a"'),
            ([[1, True]], "weight[0][1]: expected a number, got true"),
            (
                [[1, 2], [0.5, 1]],
                f"weight: layer 1, expert 0: {NO_ROWS}, got 0.5",
            ),
            ([[1, -2]], f"weight: layer 0, expert 1: {NO_ROWS}, got -2"),
            ([[0, 0]], "expected at least one row for some expert, got only zeros"),
            ({"weights": WEIGHT}, "expected the key 'logical_count', got the keys 'weights'"),
            (
                {"records": []},
                f"expected the key 'logical_count', got the keys 'records'{OTHER_MODE}",
            ),
            ({"logical_count": 3}, "logical_count: expected a list, got 3"),
            (
                {"logical_count": [[[1, 2]], [[1, 2], [3, 4]]]},
                "logical_count[1]: expected 1 entries as in [0], got 2",
            ),
            (
                {"logical_count": [[[1, 2]], [[1, float("nan")]]]},
                f"logical_count: forward pass 1, layer 0, expert 1: {NO_ROWS}, got nan",
            ),
        ],
    )
    def test_a_broken_table_is_named_by_place(self, tmp_path: Path, value: Any, message: str) -> None:
        path = write_json(tmp_path, value)
        with pytest.raises(ValueError, match=f"^{re.escape(f'{path}: {message}')}$"):
            read_recorded(path)

    def test_a_broken_file_is_named_by_line(self, tmp_path: Path) -> None:
        path = tmp_path / "cut.json"
        path.write_text('{"weight":\n [[1, 2],')
        with pytest.raises(ValueError, match=r"cut\.json: line 2, column 10: Expecting value$"):
            read_recorded(path)
        (tmp_path / "cut.npy").write_bytes(b"\x93NUMPY")
        with pytest.raises(ValueError, match=r"cut\.npy: not a NumPy array \(\.npy\): "):
            read_recorded(tmp_path / "cut.npy")

    def test_another_number_of_experts(self, tmp_path: Path) -> None:
        for path in (write_json(tmp_path, WEIGHT), write_json(tmp_path, {"logical_count": WEIGHT}, "sglang.json")):
            with pytest.raises(ValueError, match=r"expected loads of 64 experts, got 4$"):
                read_recorded(path, experts=64)


class TestMegatron:
    def test_steps_of_ranks_are_samples_in_order(self, tmp_path: Path) -> None:
        path = write_lines(
            tmp_path,
            record(3, [[1, 2], [0, 4]]),
            record(5, [[0, 1], [2, 3]]),
            record(0, [[9, 9]], block="mtp", mtp_idx=0),
            "",
            record(5, [[4, 1]], step=1),
            record(3, [[0, 3]], step=1, hs_offset=0),
        )
        recorded = read_recorded(path)
        assert isinstance(recorded, TokensFile)
        assert recorded.ids.tolist() == [[[1, 2], [0, 1]], [[0, 4], [2, 3]], [[0, 3], [4, 1]]]
        assert (recorded.layers, recorded.sample_start.tolist(), recorded.experts) == ((3, 5), [0, 2, 3], 5)
        assert recorded.origin == "Megatron-LM router trace, 2 steps of 1 ranks; 1 records of other blocks left out"
        assert counts_of(recorded) == {3: [2, 1, 1, 1, 1], 5: [1, 2, 1, 1, 1]}

    def test_a_folder_has_the_files_of_all_ranks(self, tmp_path: Path) -> None:
        for rank in (0, 1):
            write_lines(tmp_path, record(0, [[rank, 3]], rank=rank), name=f"router_trace_rank{rank}.jsonl")
        recorded = read_recorded(tmp_path, experts=6)
        assert counts_of(recorded) == {0: [1, 1, 0, 2, 0, 0]}

    def test_how_many_experts_there_are_is_the_readers_to_say(self, tmp_path: Path) -> None:
        path = write_lines(tmp_path, record(0, [[1, 2]]))
        unknown, known = read_recorded(path), read_recorded(path, experts=8)
        assert (unknown.experts, unknown.fits(8, 2), unknown.fits(2, 2), unknown.fits(8, 1)) == (3, True, False, False)
        assert (known.experts, known.fits(8, 2), known.fits(9, 2)) == (8, True, False)
        assert unknown.counts(["all"], 0, experts=8).tolist() == known.counts(["all"], 0).tolist()

    def test_a_step_without_tokens(self, tmp_path: Path) -> None:
        recorded = read_recorded(write_lines(tmp_path, record(0, []), record(0, [[1, 2]], step=1)))
        assert isinstance(recorded, TokensFile)
        assert recorded.sample_start.tolist() == [0, 0, 1]

    @pytest.mark.parametrize(
        ("records", "message"),
        [
            (["{"], "{path}: line 1, column 2: Expecting property name enclosed in double quotes"),
            ([[1]], "{path}: line 1: expected an object with step, layer, top_indices; missing step, layer, top_ind"),
            (
                [record(0, [[1, 2]]), {"step": 0, "layer": 1}],
                "{path}: line 2: expected an object with step, layer, top_indices; missing top_indices",
            ),
            ([record("3", [[1, 2]])], "{path}: line 1: layer: expected a whole number of at least 0, got '3'"),
            ([record(0, [[1, 2], [3]])], "{path}: line 1: top_indices[1]: expected 2 entries as in [0], got 1"),
            ([record(0, [[1, 2.5]])], "{path}: line 1: top_indices: expected whole numbers, got float64"),
            ([record(0, [[1, 2]], num_tokens=5)], "{path}: line 1: num_tokens: expected 1 as top_indices has, got 5"),
            ([record(0, [[1, 2]], topk=6)], "{path}: line 1: topk: expected 2 as top_indices has, got 6"),
            ([record(0, [[1, 2]])] * 2, "{path}: line 2: rank 0, step 0, layer 0 was told before"),
            (
                [record(0, [[1, 2]]), record(1, [[1, 2], [3, 4]])],
                "{path}: rank 0, step 0: layer 1: expected tokens and experts [1, 2] as in layer 0, got [2, 2]",
            ),
            (
                [record(0, [[1, 2]]), record(1, [[1, 2]], step=1)],
                "{path}: rank 0, step 1: expected the layers of every other step, got a difference in [0, 1]",
            ),
            (
                [record(0, [[1, 2]]), record(0, [[1]], step=1)],
                "{path}: expected the same number of experts a token in every step",
            ),
            ([record(0, [[1, -2]])], "{path}: token 0, layer 0: expected expert ids from 0 to 1, got [1, -2]"),
            ([record(0, [[1, 2]], block="mtp")], "{path}: expected at least one record of block 'decoder', got none"),
            ([record(0, [])], "{path}: expected at least one token, got none"),
        ],
    )
    def test_a_broken_trace_is_named_by_line(self, tmp_path: Path, records: list[Any], message: str) -> None:
        path = write_lines(tmp_path, *records)
        with pytest.raises(ValueError, match=f"^{re.escape(message.replace('{path}', str(path)))}"):
            read_recorded(path)

    def test_an_expert_the_layer_does_not_have(self, tmp_path: Path) -> None:
        path = write_lines(tmp_path, record(7, [[1, 2], [3, 8]]))
        with pytest.raises(ValueError, match=r"token 1, layer 7: expected expert ids from 0 to 7, got \[3, 8\]$"):
            read_recorded(path, experts=8)

    def test_a_folder_without_traces(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"expected files router_trace_rank\*\.jsonl, got none$"):
            read_recorded(tmp_path)


class TestExFlow:
    def test_one_expert_a_token_or_several(self, tmp_path: Path) -> None:
        one = read_recorded(write_array(tmp_path, [[4, 1, 2], [0, 2, 6]]), "exflow")
        assert counts_of(one)[0] == [1, 0, 0, 0, 1, 0, 0]
        assert (one.layers, one.top_k) == ((0, 1, 2), 1)
        several = read_recorded(write_array(tmp_path, np.array([[[0, 2]], [[1, 2]]], dtype=np.int16)), experts=4)
        assert counts_of(several) == {0: [1, 1, 2, 0]}

    def test_what_looks_like_two_formats_is_not_guessed(self, tmp_path: Path) -> None:
        """[2, 4] with numbers below 4: two layers of four experts, or two tokens in four layers."""
        path = write_array(tmp_path, [[0, 1, 2, 3], [3, 2, 1, 0]])
        for experts in (None, 4):
            with pytest.raises(ValueError, match=r"may be EPLB's weights .* say which with the format eplb or exflow$"):
                read_recorded(path, experts=experts)
        assert read_recorded(path, "eplb", experts=4).top_k is None
        assert read_recorded(path, "exflow", experts=4).top_k == 1

    def test_the_number_of_experts_tells_where_it_can(self, tmp_path: Path) -> None:
        assert read_recorded(write_array(tmp_path, [[0, 1, 7], [3, 2, 1]]), experts=8).top_k == 1
        assert read_recorded(write_array(tmp_path, WEIGHT), experts=4).top_k is None

    def test_other_arrays(self, tmp_path: Path) -> None:
        path = write_array(tmp_path, [[0.5, 1.0]])
        with pytest.raises(ValueError, match=r"expected whole numbers \[tokens, layers\] or .*, got float64 \[1, 2\]$"):
            read_recorded(path, "exflow")


class TestChoice:
    def test_unknown_formats_and_endings(self, tmp_path: Path) -> None:
        path = write_json(tmp_path, WEIGHT)
        with pytest.raises(ValueError, match=r"^unknown format 'eblp'; did you mean 'eplb'\? Known: auto, csv, npz"):
            read_recorded(path, "eblp")
        with pytest.raises(ValueError, match=r"format csv is read from files ending in \.csv, got '\.json'$"):
            read_recorded(path, "csv")
        (tmp_path / "loads.txt").write_text("1")
        with pytest.raises(ValueError, match=r"loads\.txt: expected a trace .*, got '\.txt'$"):
            read_recorded(tmp_path / "loads.txt")
        with pytest.raises(ValueError, match=r"absent\.csv: cannot be read: No such file or directory$"):
            read_recorded(tmp_path / "absent.csv")

    def test_pytorch_files_need_a_reader(self, tmp_path: Path) -> None:
        path = tmp_path / "dump.pt"
        path.write_bytes(b"")
        with pytest.raises(ValueError, match=r"dump\.pt: expected a reader of PyTorch files, got none$"):
            read_recorded(path)
        recorded = read_recorded(path, load_pt=lambda _: {"logical_count": np.array(WEIGHT)})
        assert counts_of(recorded) == {0: WEIGHT[0], 1: WEIGHT[1]}
