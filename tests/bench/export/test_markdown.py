"""A table that stays a table whatever the names are, with everything needed to judge and repeat it."""

from __future__ import annotations

import re
from typing import Any

from mohge.bench.export import markdown
from mohge.bench.export.markdown import code, escaped


def cells(line: str) -> list[str]:
    """The cells of a row as a reader of Markdown tables splits it: at pipes that are not escaped."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]


def rows(text: str) -> list[list[str]]:
    return [cells(line) for line in text.splitlines() if line.startswith("|")]


def test_it_has_the_verdict_the_table_the_machine_and_the_command(build: Any) -> None:
    others = [build.passed("padded_bmm", build.case(16), 90.0)]
    records = [build.passed("padded_bmm", build.case(), 300.0), build.passed("torch_loop", build.case(), 150.0)]
    text = "".join(markdown([build.labelled(build.run([*others, *records]))]))
    assert text.startswith("**torch_loop is fastest on mohge-3b (64 tokens, zipf:1.2, float32): 150 µs")
    header, line, first, second = rows(text)[:4]
    assert len(header) == len(line) == len(first) == len(second)
    assert first[:5] == ["`torch_loop`", "passed", "150 µs", "147 µs to 153 µs", "2.00 (1.90 to 2.10)"]
    assert second[0] == "`padded_bmm`"
    assert "measured on Some CPU, 2 cores, no GPU:" in text
    assert "<details><summary>1 more measured case</summary>\n\n" in text
    assert "torch 2.13.0, cupy-cuda13x 14.2.0, revision cafe0123cafe with changes" in text
    assert text.endswith("```\nmohge run --spec 'my layer.toml'\n```\n")
    assert "###" not in text


def test_names_cannot_leave_their_cell(build: Any) -> None:
    where = build.case(spec=build.evil, routing=build.evil)
    records = [build.passed(build.evil, where, 1.0), build.failed("a|b", where, build.evil)]
    command = ["mohge", "run", "--spec", "```\n<script>"]
    text = "".join(markdown([build.labelled(build.run(records, command=command), build.evil)]))
    assert len({len(row) for row in rows(text)}) == 1
    before, fence, shown = text.partition("\n````\n")
    assert fence
    assert "<script>" in shown
    outside = re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "", before)
    assert re.search(r"<(?!/?(details|summary)>)", outside) is None


def test_words_are_escaped_only_where_markdown_would_read_them() -> None:
    assert escaped("torch_grouped_mm at 5 % of 3|4") == r"torch_grouped_mm at 5 % of 3\|4"
    assert escaped("_x_ *y* `z` [w](v) a<b>&c") == r"\_x\_ \*y\* \`z\` \[w\](v) a&lt;b&gt;&amp;c"
    assert code("a|b") == "`a\\|b`"
    assert code("`x") == "`` `x ``"


def test_runs_have_a_part_each_and_empty_ones_say_so(build: Any) -> None:
    runs = [
        build.labelled(build.run([]), "empty"),
        build.labelled(build.run([build.failed("triton", build.case(), "no GPU")]), "failed"),
    ]
    text = "".join(markdown(runs))
    assert re.findall(r"^### (.+)$", text, flags=re.MULTILINE) == ["empty", "failed"]
    assert "Not measured: this run holds no records." in text
    assert "Not measured: of 1 implementation, 1 crashed" in text
    assert "crashed: no GPU" in text
    assert text.count("mohge run --spec") == 2


def test_the_ladder_of_versions_is_a_table_of_its_own(build: Any) -> None:
    times = {"cupy_tile": 400.0, "cupy_mma": 100.0, "cupy": 100.0, "padded_bmm": 300.0}
    records = [build.passed(name, build.case(), time) for name, time in times.items()]
    text = "".join(markdown([build.labelled(build.run(records))]))
    before, _, after = text.partition(
        "The ladder of cupy (mohge-3b, zipf:1.2, float32). At 64 tokens cupy_mma has the "
    )
    assert [row[0] for row in rows(before)[2:]] == ["`cupy`", "`padded_bmm`"]
    header, line, *found = rows(after)
    assert {len(row) for row in found} == {len(header)} == {len(line)}
    steps = [dict(zip(header, row, strict=True)) for row in found]
    assert [step["implementation"] for step in steps] == ["`cupy_tile`", "`cupy_mma`", "`cupy`"]
    assert [step["as"] for step in steps] == ["–", "cupy_tile", "cupy_mma"]
    assert "The ladder" not in "".join(markdown([build.labelled(build.run(records[1:]))]))
