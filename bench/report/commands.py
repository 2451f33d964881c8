"""The command that makes a record again."""

from __future__ import annotations

import json
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

from ...reference import LayerSpec
from ...reference.presets import PRESETS
from ..records import CaseRecord, Record, Run
from .cases import is_measured

_TRACE = "trace:"
_USUAL_TIMER = {"cpu": "cpu", "cuda": "events"}


def command(record: Record, run: Run) -> str:
    """A line for a shell that makes this record alone again, its ratio over the baseline with it or, where no options
    name its case, the command of the whole run.

    A layer that is no preset is first written to a TOML file. A recorded routing can be named only where the run's own
    command names its file; what is interpreted, simulated or compiled, `mohge run` alone does.
    """
    case = record.case
    routing = _routing(case, run)
    spec = _spec(case)
    if not (is_measured(record) and case.tokens and routing and spec):
        return shlex.join(run.command)
    file, name = spec
    words = ["mohge", "bench", "--spec", name, "--tokens", str(case.tokens), *routing]
    words += ["--dtype", case.dtype] if case.dtype else []
    words += ["--device", case.device] if case.device else []
    words += ["--seed", str(case.seed)] if case.seed else []
    words += ["--step", str(case.step)] if case.step else []
    words += _timing(record, run)
    rivals = [record.implementation] + ([record.speedup.baseline] if record.speedup is not None else [])
    return file + shlex.join([*words, "--implementations", ",".join(rivals)])


def _spec(case: CaseRecord) -> tuple[str, str] | None:
    """What must be done before so that --spec finds the layer, and what to call it; None where it is not known."""
    try:
        layer = LayerSpec.from_dict(dict(case.layer))
    except (ValueError, TypeError):
        return ("", case.spec) if not case.layer and case.spec in PRESETS else None
    if layer.name in PRESETS and LayerSpec.preset(layer.name) == layer:
        return "", layer.name
    file = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in layer.name) + ".toml"
    lines = [f"{key} = {_toml(value)}" for key, value in layer.to_dict().items()]
    return f"printf '%s\\n' {shlex.join(lines)} > {shlex.quote(f'./{file}')} && ", f"./{file}"


def _toml(value: Any) -> str:
    """A text, a whole number or a list of those, as TOML: JSON is that too, but for the one control character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _routing(case: CaseRecord, run: Run) -> list[str]:
    """The options that give the routing; empty where none do."""
    routing = case.routing or ""
    if not routing.startswith(_TRACE):
        return ["--routing", routing] if routing else []
    stem, _, selection = routing.removeprefix(_TRACE).partition("/")
    domain, _, layer = selection.rpartition("/")
    path = next((path for path in _given(run, "--trace") if Path(path).stem == stem), None)
    if path is None or not layer:
        return []
    return ["--trace", path, *(["--domain", domain] if domain not in ("", "all") else []), "--layer", layer]


def _timing(record: Record, run: Run) -> list[str]:
    """How long was timed, where the run's command says, and in which way, where it was not the usual one."""
    seconds = _given(run, "--seconds") if "bench" in run.command[:2] else []
    timer = record.hot.timer if record.hot is not None else ""
    usual = _USUAL_TIMER.get(record.case.device.partition(":")[0])
    return [*(["--seconds", seconds[-1]] if seconds else []), *(["--timer", timer] if timer not in ("", usual) else [])]


def _given(run: Run, option: str) -> list[str]:
    """What the run's command gives for an option, however often."""
    after = [value for word, value in pairwise(run.command) if word == option]
    return after + [word.removeprefix(f"{option}=") for word in run.command if word.startswith(f"{option}=")]
