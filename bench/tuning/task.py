"""What one study is asked to find, in plain data: every process that works on it gets the same."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ...kernels import IMPLEMENTATIONS, load, tuned
from ...kernels.tunable import Tunable, Value
from ...reference import LayerSpec
from ..peers import VERSIONS
from ..records import source_hash
from ..runner.jobs import Source
from ..workloads import Case, routing_counts
from .outcome import without_idle
from .predict import Machine

MODES = ("measured", "predicted", "replayed")
# What a routing class is tuned on when no routing is named; a trace joins the class it belongs to.
SOURCES = {"balanced": ("uniform",), "skewed": ("zipf:1.2",), "any": ("uniform", "zipf:1.2")}
# Up to this many tokens a batch is a decode step: other layers have emptied the cache since, so the cold time counts.
DECODE_TOKENS = 256


@dataclass(frozen=True)
class TrialLimits:
    """seconds: of timing per case, hot and again cold;  timeout: seconds a trial may take in all;  min_samples,
    max_samples: per configuration and case.
    """

    seconds: float = 0.5
    timeout: float = 120.0
    min_samples: int = 10
    max_samples: int = 200


@dataclass(frozen=True)
class StudyTask:
    """One study: an implementation on one spec, token bucket, routing class, dtype and GPU.

    implementation: a name of the table, or "module:attribute" for a Tunable of one's own
    gpu:       the GPU the winner is for: this one's name, or that of `machine`
    mode:      measured, predicted, or replayed
    sources:   the routings of the class; a configuration is worth what it is worth on the worst
    choices:   every parameter with the values it may take
    current:   what a launch would use now;  built_in: what it would use without a table
    machine:   the rates that predictions assume
    energy:    also measure the energy of a call, as a second objective
    sampler:   tpe, random, grid or nsga2;  trials: configurations to try
    finalists: how many of the best are timed again
    replay:    the recorded study's file and place in it, for mode replayed
    sources_hash: of the kernel sources
    """

    implementation: str
    spec: LayerSpec
    tokens: int
    routing_class: str
    dtype: str
    device: str
    gpu: str
    mode: str
    sources: tuple[Source, ...]
    choices: Mapping[str, tuple[Value, ...]]
    current: Mapping[str, Value]
    built_in: Mapping[str, Value]
    limits: TrialLimits = TrialLimits()
    machine: Machine | None = None
    energy: bool = False
    sampler: str = "tpe"
    trials: int = 100
    finalists: int = 5
    seed: int = 0
    replay: str = ""
    sources_hash: str = ""

    @property
    def name(self) -> str:
        """The study's name in its storage: the same for the same question, so that it is found again.

        It ends in eight digits of a hash of everything that decides what a trial finds: kernels, routings, the current
        configuration, the choices. What only decides how long to look (trials, sampler) is not in it.
        """
        facts = {**self.to_dict(), **dict.fromkeys(("sampler", "trials", "finalists", "limits", "built_in"))}
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]
        words = [self.implementation, tuned.spec_class(self.spec), f"t{self.bucket}", self.routing_class, self.dtype]
        mode = [] if self.mode == "measured" else [self.mode]
        return "/".join([*words, self.gpu.replace(" ", "-"), *mode, digest])

    @property
    def bucket(self) -> int:
        """The token bucket the winner is for."""
        return tuned.token_bucket(self.tokens)

    @property
    def decode(self) -> bool:
        """Whether the cold time is what counts."""
        return self.tokens <= DECODE_TOKENS

    def cases(self) -> list[Case]:
        """The cases every configuration is tried on. Raises ValueError for a routing the spec cannot have."""
        kind = self.device.partition(":")[0]
        return [Case(self.spec, self.tokens, s.workload(), self.dtype, kind, self.seed) for s in self.sources]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            **asdict(self),
            "spec": self.spec.to_dict(),
            "choices": {name: list(values) for name, values in self.choices.items()},
            "current": dict(self.current),
            "built_in": dict(self.built_in),
        }

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> StudyTask:
        """The inverse of `to_dict`."""
        machine = table["machine"]
        return cls(
            **{
                **table,
                "spec": LayerSpec.from_dict(table["spec"]),
                "sources": tuple(Source(**source) for source in table["sources"]),
                "choices": {name: tuple(values) for name, values in table["choices"].items()},
                "limits": TrialLimits(**table["limits"]),
                "machine": None if machine is None else Machine(**machine),
            }
        )


def load_tunable(name: str) -> Tunable:
    """The implementation to tune: a name of the table, a version, or "module:attribute". Raises ValueError."""
    module, colon, attribute = name.partition(":")
    if not colon:
        found: object = VERSIONS[name].load() if name in VERSIONS else load(name)
    else:
        try:
            found = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise ValueError(f"{name}: cannot be imported: {error}") from error
    if not isinstance(found, Tunable):
        able = [entry for entry in IMPLEMENTATIONS if isinstance(load(entry), Tunable)]
        raise ValueError(f"{name}: expected an implementation with something to tune ({', '.join(able)}), got another")
    return found


def with_configurations(task: StudyTask) -> StudyTask:
    """The task with choices, current and built-in configuration of its implementation, and the hash of its sources.

    Values of these configurations that are no choices become choices. Raises ValueError.
    """
    tunable, rows = load_tunable(task.implementation), task.tokens * task.spec.top_k
    # The table knows more than an implementation that is told nothing of the routing and the GPU.
    row = tuned.lookup(task.implementation, task.gpu, task.spec, task.tokens, task.routing_class, task.dtype)
    current = dict(row or tunable.current_values(task.spec, rows, task.dtype))
    with _without_table():
        built_in = tunable.current_values(task.spec, rows, task.dtype)
    choices: dict[str, tuple[Value, ...]] = {}
    for name, values in (task.choices or tunable.space(task.spec, task.dtype)).items():
        more = [values_[name] for values_ in (current, built_in) if name in values_]
        choices[name] = tuple(dict.fromkeys([*values, *more]))
    current, built_in = (without_idle(tunable, one, task.spec, task.dtype)[0] for one in (current, built_in))
    return replace(task, choices=choices, current=current, built_in=built_in, sources_hash=source_hash())


def narrowed(space: Mapping[str, tuple[Value, ...]], fixed: Mapping[str, str]) -> dict[str, tuple[Value, ...]]:
    """The space with some parameters held to fewer choices, given as text: {"fc1_block_m": "64,128"}.

    Raises ValueError for a parameter or a choice that there is not.
    """
    result = dict(space)
    for name, text in fixed.items():
        if name not in space:
            raise ValueError(f"--fix {name}: no such parameter; expected one of {', '.join(space)}")
        by_text = {str(value): value for value in space[name]}
        for word in text.split(","):
            if word.strip() not in by_text:
                raise ValueError(f"--fix {name}: expected some of {', '.join(by_text)}, got {word.strip()!r}")
        result[name] = tuple(by_text[word.strip()] for word in text.split(","))
    return result


def choose_sources(
    spec: LayerSpec, tokens: int, routing_class: str, named: tuple[Source, ...], trace: Source | None, seed: int
) -> tuple[Source, ...]:
    """The routings a class is tuned on: those named, or the class's own and the trace where it belongs to it.

    Raises ValueError for a routing of another class than the study's.
    """

    def class_of(source: Source) -> str:
        routing = source.workload().routing(spec, tokens, seed)
        return tuned.routing_class(routing_counts(routing, spec.experts))

    for source in named:
        if routing_class not in ("any", class_of(source)):
            raise ValueError(f"--routing {source.text}: expected a {routing_class} one, got a {class_of(source)} one")
    sources = named or tuple(Source(text) for text in SOURCES[routing_class])
    if trace is not None and routing_class in ("any", class_of(trace)):
        sources = (*sources, trace)
    return sources


@contextlib.contextmanager
def _without_table() -> Iterator[None]:
    """Within the block launches know no table of tuned configurations."""
    before = os.environ.get(tuned.VARIABLE)
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder, "tuned.json")
        tuned.write_table([], empty)
        os.environ[tuned.VARIABLE] = str(empty)
        tuned.forget()
        try:
            yield
        finally:
            if before is None:
                del os.environ[tuned.VARIABLE]
            else:
                os.environ[tuned.VARIABLE] = before
            tuned.forget()
