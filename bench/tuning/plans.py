"""From what a user asks for to the tasks of studies, every one checked before anything is run."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...kernels import tuned
from ...reference import LayerSpec
from ..peers import family_of
from ..records import TuningRecord, load_run
from ..runner.grids import check_device
from ..runner.jobs import Source
from ..runner.resources import REPORTERS
from ..workloads import DTYPES
from .predict import H200, machine_from_run
from .replay import read_recorded, recorded_choices
from .sweep import SAMPLER
from .task import StudyTask, TrialLimits, choose_sources, load_tunable, narrowed, with_configurations

SAMPLERS = ("tpe", "random", "grid", "nsga2", SAMPLER)
MOST_GRID = 10_000  # the grid sampler keeps all combinations in memory and looks through them for every trial

MOST_COMPILERS = 8  # a kernel takes seconds to compile, and a trial about one second of the GPU


@dataclass(frozen=True)
class Wanted:
    """The options of `mohge tune`, as text where a user gives text."""

    implementation: str
    spec: LayerSpec
    tokens: str
    routing_class: str = "any"
    routings: tuple[str, ...] = ()
    trace: Source | None = None
    dtype: str = "auto"
    device: str = "auto"
    sampler: str = "tpe"
    trials: int = 100
    finalists: int = 5
    limits: TrialLimits = field(default_factory=TrialLimits)
    energy: bool = False
    roof: Path | None = None
    replay: Path | None = None
    seed: int = 0
    fix: tuple[str, ...] = ()


def storage_in(folder: Path) -> str:
    """The storage of a run that names none."""
    return f"sqlite:///{(folder / 'study.db').absolute()}"


def compilers_for(task: StudyTask) -> int:
    """How many processes compile ahead when nobody says: none where they would take the cores from what is timed, or
    where compiling is all there is to a trial, which `--workers` share.
    """
    if task.mode != "measured" or not task.device.startswith("cuda"):
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MOST_COMPILERS, cores // 2)


def tasks_for(wanted: Wanted) -> list[StudyTask]:
    """A task for each batch size and routing class. Raises ValueError for anything that cannot be."""
    if wanted.sampler not in SAMPLERS:
        raise ValueError(f"--sampler: expected one of {', '.join(SAMPLERS)}, got {wanted.sampler!r}")
    tunable = load_tunable(wanted.implementation)
    device = check_device(wanted.device)
    mode = _mode(wanted, device)
    if wanted.energy and mode == "predicted":
        raise ValueError("--energy: expected a GPU to measure on, got a prediction")
    if wanted.replay is not None:
        return _replayed(wanted, device)
    dtype = _dtype(wanted.dtype, device, mode)
    if mode == "measured":
        _check_supported(wanted.implementation, tunable, wanted.spec, dtype, device)
    space = narrowed(tunable.space(wanted.spec, dtype), _fixed(wanted.fix))
    named = tuple(Source(text) for text in wanted.routings)
    machine = None
    if mode == "predicted":
        machine = machine_from_run(load_run(wanted.roof), str(wanted.roof)) if wanted.roof else H200
    elif wanted.roof is not None:
        raise ValueError("--roof: expected a prediction to use it for, but this GPU is measured on")
    gpu = machine.name if machine else _gpu(device)
    tasks = []
    for tokens in _tokens(wanted.tokens):
        for routing_class in _classes(wanted.routing_class):
            task = StudyTask(
                implementation=wanted.implementation,
                spec=wanted.spec,
                tokens=tokens,
                routing_class=routing_class,
                dtype=dtype,
                device=device,
                gpu=gpu,
                mode=mode,
                sources=choose_sources(wanted.spec, tokens, routing_class, named, wanted.trace, wanted.seed),
                choices=space,
                current={},
                built_in={},
                machine=machine,
                **_shared(wanted),
            )
            tasks.append(_checked(with_configurations(task)))
    return tasks


def _shared(wanted: Wanted) -> dict[str, Any]:
    names = ("limits", "energy", "sampler", "trials", "finalists", "seed")
    return {name: getattr(wanted, name) for name in names}


def _checked(task: StudyTask) -> StudyTask:
    size = 1
    for values in task.choices.values():
        size *= len(values)
    if task.sampler == "grid" and size > MOST_GRID:
        raise ValueError(
            f"--sampler grid: expected at most {MOST_GRID} combinations, got {size}; --fix holds parameters to fewer"
        )
    return task


def _mode(wanted: Wanted, device: str) -> str:
    """GPU kernels are predicted where there is no GPU; what runs on a CPU is measured there."""
    name = family_of(wanted.implementation) or wanted.implementation
    return "predicted" if device == "cpu" and name in REPORTERS else "measured"


def _dtype(dtype: str, device: str, mode: str) -> str:
    if dtype == "auto":
        return "bfloat16" if mode == "predicted" or device != "cpu" else "float32"
    if dtype not in DTYPES:
        raise ValueError(f"dtype: expected auto, {', '.join(DTYPES)}, got {dtype!r}")
    return dtype


def _check_supported(name: str, tunable: Any, spec: LayerSpec, dtype: str, device: str) -> None:
    import torch

    supports = getattr(tunable, "supports", None)
    reason = supports(spec, getattr(torch, dtype), torch.device(device)) if supports is not None else None
    if reason is not None:
        raise ValueError(f"{name}: {reason}")


def _gpu(device: str) -> str:
    from ...kernels.common import gpu_name

    return gpu_name(device)


def _tokens(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and int(part) > 0 for part in parts):
        raise ValueError(f"--tokens: expected whole numbers above 0 separated by commas, got {text!r}")
    return list(dict.fromkeys(int(part) for part in parts))


def _classes(text: str) -> list[str]:
    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        if part not in tuned.ROUTING_CLASSES:
            raise ValueError(f"--routing-class: expected some of {', '.join(tuned.ROUTING_CLASSES)}, got {part!r}")
    return list(dict.fromkeys(parts))


def _fixed(texts: tuple[str, ...]) -> dict[str, str]:
    fixed = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals or not values:
            raise ValueError(f"--fix: expected NAME=VALUE,..., got {text!r}")
        fixed[name.strip()] = values
    return fixed


def _replayed(wanted: Wanted, device: str) -> list[StudyTask]:
    """A task for each recorded study of the implementation, with that study's own case and choices."""
    assert wanted.replay is not None
    file = wanted.replay.absolute()
    records = list(enumerate(read_recorded(file)))
    mine = [(place, record) for place, record in records if record.implementation == wanted.implementation]
    if not mine:
        others = ", ".join(dict.fromkeys(record.implementation for _, record in records))
        raise ValueError(f"--replay {wanted.replay}: expected a study of {wanted.implementation}, got {others}")
    return [_checked(_task_of(record, wanted, device, f"{file}#{place}")) for place, record in mine]


def _task_of(record: TuningRecord, wanted: Wanted, device: str, replay: str) -> StudyTask:
    spec = LayerSpec.from_dict(record.case.layer)
    machine = record.notes.get("machine") or {}
    task = StudyTask(
        implementation=record.implementation,
        spec=spec,
        tokens=record.case.tokens or record.tokens,
        routing_class=record.routing_class,
        dtype=str(record.case.dtype),
        device=device,
        gpu=record.gpu or str(machine.get("name", "cpu")),
        mode="replayed",
        sources=tuple(Source(text) for text in record.notes.get("routings", []) if text != "trace")
        or (Source("uniform"),),
        choices=recorded_choices(record),
        current=dict(record.notes.get("current", {})),
        built_in=dict(record.notes.get("built_in", {})),
        replay=replay,
        **_shared(replace(wanted, energy=any(trial.get("energy_j") for trial in record.trials) and wanted.energy)),
    )
    if not task.current:
        raise ValueError(
            f"--replay {wanted.replay}: expected the current configuration in the record's notes, got none"
        )
    return task
