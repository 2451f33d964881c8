"""The README's figures: a table and a picture made from each committed run, and nothing else.

    python -m mohge.bench.report.readme

rewrites the block between `<!-- run: PATH -->` and `<!-- end of run -->` from the run at PATH and takes the picture of
its report with a headless browser. The picture's name carries a hash of the run, so that a test sees when it is stale.
It also fills the tables of versions in the kernels' own READMEs (`readme_versions.py`).
"""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ..records import Run, load_run, run_path, source_hash
from ..whatif.settings import GIVEN, main_setting, seconds_of, settings
from .cases import case_phrase, hot_median, main_case
from .figures_what_if import times_as_fast
from .formats import digits, rate_text, speedup_interval, time_text
from .page import write_report
from .readings_what_if import baseline_of, cost_source, what_if_verdict
from .readme_versions import READMES, with_figures
from .scenarios import choice_name, is_only_what_if, words
from .verdict import verdict

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"<!-- run: (?P<path>\S+) -->\n.*?<!-- end of run -->", flags=re.DOTALL)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PICTURE_SIZE = (1200, 900)
STUDY_SIZE = (1200, 1080)  # down to the first figure


def block(run: Run, run_file: str) -> str:
    """What stands in the README for a run: the picture, the table of its main case, and where it comes from."""
    lines = study_lines(run, run_file) if is_only_what_if(run) else _measured_lines(run, run_file)
    return "\n".join([f"<!-- run: {run_file} -->", *lines, "<!-- end of run -->"])


def _measured_lines(run: Run, run_file: str) -> list[str]:
    """Of a run that measured implementations."""
    group = main_case(run)
    if group is None:
        raise ValueError(f"{run_file}: expected a run with measured records")
    lines = [
        f"![The report's first screen]({picture(run_file)})",
        "",
        f"{case_phrase(group.case)} on {_machine(run)}, measured by `{' '.join(run.command)}`:",
        "",
        "| implementation | time | useful rate | times as fast as padded_bmm (95 % interval) |",
        "|---|--:|--:|--:|",
    ]
    for record in group.fastest:
        ratio = "1"
        if record.speedup is not None:
            ratio = f"{digits(record.speedup.ratio)} ({speedup_interval(record.speedup)})"
        time = time_text(hot_median(record))
        lines.append(f"| `{record.implementation}` | {time} | {rate_text(record.tflops)} | {ratio} |")
    lines += ["", verdict(run).sentence]
    if run.source_hash != source_hash():
        lines += ["", "Stale: the kernels' sources have changed since this run."]
    return lines


def study_lines(run: Run, run_file: str) -> list[str]:
    """Of a what-if study: the quickest choice for every number of ranks in the setting that its verdict is about."""
    found = settings(run.what_if)
    if not found:
        raise ValueError(f"{run_file}: expected a study with possible scenarios")
    main = main_setting(found).given
    asked = [axis for axis in GIVEN if axis not in ("ranks", "cluster")]
    shown = [setting for setting in found if all(setting.given[axis] == main[axis] for axis in asked)]
    where = ", ".join(words(axis, main[axis]) for axis in ("tokens", "routing"))
    lines = [
        f"![The first screen of a what-if report]({picture(run_file)})",
        "",
        f"{main['spec']} ({where}), simulated by `{shlex.join(run.command)}`:",
        "",
        f"| ranks | quickest placement | step | times as fast as under {baseline_of(run)} | work over a proven bound |",
        "|--:|---|--:|--:|--:|",
    ]
    for setting in sorted(shown, key=lambda setting: setting.given["ranks"]):
        best = setting.best
        numbers = (time_text(seconds_of(best) * 1e6), digits(times_as_fast(best)), digits(best.work_over_bound))
        lines.append(f"| {setting.given['ranks']} | {choice_name(best)} | {' | '.join(numbers)} |")
    said = what_if_verdict(run)
    return [*lines, "", said.remarks[0], "", *cost_source(run)]


def picture(run_file: str) -> str:
    """The picture's path, beside the run, with eight digits of the run's hash in its name."""
    digest = hashlib.sha256((ROOT / run_file).read_bytes()).hexdigest()[:8]
    return str(Path(run_file).parent / f"report-{digest}.png")


def rewritten(readme: str) -> str:
    """The README's text with every block made anew. Raises ValueError when it has none, or a run cannot be read."""
    if not BLOCK.search(readme):
        raise ValueError("README.md: expected a block <!-- run: PATH --> ... <!-- end of run -->, found none")
    return BLOCK.sub(lambda found: block(load_run(ROOT / found["path"]), found["path"]), readme)


def photograph(run_file: str) -> None:
    """Take the picture of the run's report with a headless browser. Raises ValueError when there is none."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise ValueError(f"expected one of {', '.join(BROWSERS)} on the PATH to take the picture, found none")
    target = ROOT / picture(run_file)
    for old in target.parent.glob("report-*.png"):
        old.unlink()
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        file = run_path(ROOT / run_file)
        run = load_run(file)
        write_report(run, page, file.parent)
        size = STUDY_SIZE if is_only_what_if(run) else PICTURE_SIZE
        flags = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=8000")
        own = (f"--user-data-dir={folder}/profile", f"--window-size={','.join(map(str, size))}")
        command = [browser, *flags, *own, f"--screenshot={target}", page.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)


def _machine(run: Run) -> str:
    gpu, cpu = run.environment.gpu, run.environment.cpu
    return str(gpu["name"]) if gpu else f"{cpu.get('cores', '?')} cores of {cpu.get('model', 'CPU')}"


def main() -> int:
    """Rewrite README.md and the kernels' own, and take the pictures."""
    path = ROOT / "README.md"
    try:
        for family, own in READMES.items():
            own.write_text(with_figures(own.read_text(encoding="utf-8"), family), encoding="utf-8")
        text = path.read_text(encoding="utf-8")
        path.write_text(rewritten(text), encoding="utf-8")
        for found in BLOCK.finditer(text):
            photograph(found["path"])
    except ValueError as error:
        print(f"mohge: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
