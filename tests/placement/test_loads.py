from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from mohge.placement.loads import read_loads

HEADER = "domain,layer,expert_0,expert_1,expert_2\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "counts.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_lines_are_read_in_order(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER + "c4,7,1,0,3\r\n\narxiv, 0, 4 ,5,6\nc4,8,0,0,1")
    loads = read_loads(path, experts=3)
    assert [(entry.domain, entry.layer, entry.counts.tolist()) for entry in loads] == [
        ("c4", 7, [1, 0, 3]),
        ("arxiv", 0, [4, 5, 6]),
        ("c4", 8, [0, 0, 1]),
    ]
    assert {entry.counts.dtype for entry in loads} == {np.dtype(np.int64)}
    assert len(read_loads(str(path))) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: expected the header domain, layer, expert_0, ..., got an empty file"),
        ("domain,layers,expert_0\n", "line 1: expected 'layer' in column 2, got 'layers'"),
        ("domain,layer\n", "line 1: expected 'expert_0' in column 3, got nothing"),
        ("domain,layer,expert_0,expert_2\n", "line 1: expected 'expert_1' in column 4, got 'expert_2'"),
        ("c4,7,1,2,3\n", "line 1: expected 'domain' in column 1, got 'c4'"),
        (HEADER, "line 2: expected a line of counts, got the end of the file"),
        (HEADER + "c4,7,1,2\n", "line 2: expected 5 cells, got 4"),
        (HEADER + "c4,7,1,2,3\nc4,8,1,2,3,4\n", "line 3: expected 5 cells, got 6"),
        (HEADER + "c4,7,1,-2,3\n", "line 2: expert_1: expected a whole number of at least 0, got '-2'"),
        (HEADER + "c4,7,1,2.5,3\n", "line 2: expert_1: expected a whole number of at least 0, got '2.5'"),
        (HEADER + "c4,7,1,2,\n", "line 2: expert_2: expected a whole number of at least 0, got ''"),
        (HEADER + "c4,7,1,2,nan\n", "line 2: expert_2: expected a whole number of at least 0, got 'nan'"),
        (HEADER + f"c4,7,{10**18},2,3\n", f"line 2: expert_0: expected a whole number of at least 0, got '{10**18}'"),
        (HEADER + "c4,seven,1,2,3\n", "line 2: layer: expected a whole number of at least 0, got 'seven'"),
        (HEADER + "\nc4,7,0,0,0\n", "line 3: expected at least one row for some expert, got only zeros"),
        (HEADER + "c4,7,1,2,3\nc4,7,1,2,3\n", "line 3: c4 layer 7 was told before"),
        (HEADER + 'c4,7,1,2,"3\n', "line 2: unexpected end of data"),
    ],
)
def test_bad_file_names_the_line(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=f"^{re.escape(f'{path}: {message}')}$"):
        read_loads(path)


def test_other_number_of_experts(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"line 1: expected loads of 64 experts, got 3$"):
        read_loads(write(tmp_path, HEADER + "c4,7,1,2,3\n"), experts=64)


def test_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"absent\.csv: cannot be read: No such file or directory$"):
        read_loads(tmp_path / "absent.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"binary\.csv: not a CSV file: "):
        read_loads(tmp_path / "binary.csv")
