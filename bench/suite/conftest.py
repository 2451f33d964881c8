"""The suite's grid (which layers, tokens, routings, implementations), and how one test of it runs: gate, then time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from mohge.bench.cli.options import resolve_spec
from mohge.bench.peers import PEERS, SETS, VERSIONS
from mohge.bench.plugin.fixture import GpuBenchmark, Work
from mohge.bench.plugin.hooks import refuse_conflicts
from mohge.bench.plugin.layers import LayerBench
from mohge.bench.plugin.saved import case_name, group_name
from mohge.bench.runner.grids import REAL, check_device, check_dtype, check_implementations
from mohge.bench.runner.jobs import scaled_down
from mohge.bench.timing import check_way
from mohge.bench.workloads import Case, Workload, parse_routing
from mohge.dispatch import BACKENDS
from mohge.kernels import IMPLEMENTATIONS, PHASES
from mohge.reference import PRESETS, LayerSpec

# A CPU has minutes where a GPU has seconds: a quarter of the width, decode-sized and small prefill-sized batches.
_DEFAULTS = {
    "cpu": {"specs": "mohge-3b/4", "tokens": "16,128", "routings": "router,zipf:1.2", "seconds": 0.5},
    "cuda": {
        "specs": "mohge-3b,mohge-3b-uniform",
        "tokens": "64,1024,16384,65536",
        "routings": "router,zipf:1.2",
        "seconds": 1.0,
    },
}


@dataclass(frozen=True)
class Grid:
    """What is measured. cases: by their name in test ids;  seconds: longest time per measurement, for all rivals."""

    device: str
    dtype: str
    cases: dict[str, Case]
    implementations: tuple[str, ...]
    seconds: float


Reason = Callable[[str], str | None]
Part = Callable[[str], Callable[[], Any] | None]
NOTHING_KNOWN = Work()
GRID = pytest.StashKey[Grid]()


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """The axes of the grid; --gpu-benchmark-device chooses the device."""
    pluginmanager.import_plugin("mohge.bench.plugin")  # where mohge is importable but not installed
    group = parser.getgroup("suite", "the mohge suite")
    group.addoption("--suite-specs", metavar="A,B", help="Presets, preset/4 (its width divided by 4) or TOML files.")
    group.addoption("--suite-tokens", metavar="N,M", help="Batch sizes.")
    group.addoption("--suite-routings", metavar="A,B", help="router, zipf:1.2, hot_set:0.1,0.8, ... or trace files.")
    named = f"Out of {', '.join([*IMPLEMENTATIONS, *PEERS, *VERSIONS])}; {', '.join(SETS)} for several."
    group.addoption("--suite-implementations", metavar="A,B", help=named)
    group.addoption("--suite-dtype", metavar="DTYPE", default="auto", help="float32, float16, bfloat16 or auto.")
    group.addoption("--suite-seconds", metavar="S", type=float, help="Longest time per measurement, for all rivals.")


def pytest_configure(config: pytest.Config) -> None:
    """Read the grid; a wrong option ends the session in one line."""
    refuse_conflicts(config)
    try:
        config.stash[GRID] = _grid(config)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error


def _grid(config: pytest.Config) -> Grid:
    device = check_device(config.getoption("gpu_benchmark_device") or "auto")
    kind = device.partition(":")[0]
    check_way(device, config.getoption("gpu_benchmark_timer") or "auto")
    dtype = check_dtype(str(config.getoption("suite_dtype")), device)

    def option(name: str) -> Any:
        given = config.getoption(f"suite_{name}")
        return _DEFAULTS[kind][name] if given is None else given

    workloads = [_workload(text) for text in _routings(option("routings"))]
    cases = {}
    for spec in [_spec(text) for text in _words("--suite-specs", option("specs"))]:
        for workload in workloads:
            workload.routing(spec, 1)  # says at once when this layer cannot have it
            for count in _token_counts(option("tokens")):
                case = Case(spec, count, workload, dtype, kind)
                cases[case_name(case.spec.name, case.tokens, case.routing, case.dtype)] = case
    everything = REAL if kind == "cpu" else tuple(IMPLEMENTATIONS)
    names = check_implementations(config.getoption("suite_implementations")) or everything
    seconds = config.getoption("gpu_benchmark_seconds") if config.getoption("suite_seconds") is None else None
    return Grid(device, dtype, cases, names, option("seconds") if seconds is None else seconds)


def _words(option: str, text: str) -> list[str]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise ValueError(f"{option}: expected names separated by commas, got {text!r}")
    return words


def _token_counts(text: str) -> list[int]:
    words = _words("--suite-tokens", text)
    if not all(word.isdigit() and int(word) for word in words):
        raise ValueError(f"--suite-tokens: expected whole numbers above 0 separated by commas, got {text!r}")
    return [int(word) for word in words]


def _routings(text: str) -> list[str]:
    """Routings separated by commas; a word that is a number belongs to the routing before it."""
    found: list[str] = []
    for word in _words("--suite-routings", text):
        if found and word[0] in "0123456789.":
            found[-1] += f",{word}"
        else:
            found.append(word)
    return found


def _workload(text: str) -> Workload:
    return parse_routing("trace", trace=text) if text.endswith((".npz", ".csv")) else parse_routing(text)


def _spec(text: str) -> LayerSpec:
    name, _, factor = text.rpartition("/")
    if name in PRESETS and factor.isdigit() and int(factor):
        return scaled_down(LayerSpec.preset(name), int(factor))
    return resolve_spec(text)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Cases outside, so that the rivals of a case follow one another."""
    grid = metafunc.config.stash[GRID]
    values = {"case": tuple(grid.cases), "phase": PHASES, "backend": tuple(BACKENDS)}
    for name, choices in {**values, "implementation": grid.implementations}.items():
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, choices)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """One layer's tests after another's, so that weights are made once; in the table, rivals side by side."""
    cases = config.stash[GRID].cases
    specs = [case.spec for case in cases.values()]
    here = Path(__file__).parent
    functions = [item for item in items if isinstance(item, pytest.Function) and item.path.is_relative_to(here)]
    mine = [item for item in functions if "case" in _parameters(item)]
    for item in mine:
        item.add_marker(pytest.mark.benchmark(group=group_name(item.originalname, _parameters(item))))
    places = [place for place, item in enumerate(items) if item in mine]
    mine.sort(key=lambda item: specs.index(cases[_parameters(item)["case"]].spec))
    for place, item in zip(places, mine, strict=True):
        items[place] = item


def _parameters(item: Any) -> dict[str, Any]:
    callspec = getattr(item, "callspec", None)
    return callspec.params if callspec is not None else {}


class Contest:
    """One test: the time of one competitor (an implementation or a backend) on a case, against its rivals.

    case:    what is computed
    name:    the competitor of this test
    rivals:  all selected competitors on this case, `name` among them
    """

    def __init__(self, item: Any, gpu_benchmark: GpuBenchmark, grid: Grid) -> None:
        self._benchmark, self._grid = gpu_benchmark, grid
        mine = _parameters(item)
        self._kind = "backend" if "backend" in mine else "implementation"
        self._common = {key: value for key, value in mine.items() if key != self._kind}
        self._test = item.nodeid.partition("[")[0]
        self.case, self.name = grid.cases[mine["case"]], mine[self._kind]
        self.rivals = tuple(
            _parameters(other)[self._kind]
            for other in item.session.items
            if other.nodeid.partition("[")[0] == self._test
            and {key: value for key, value in _parameters(other).items() if key != self._kind} == self._common
        )

    def run(self, unavailable: Reason, wrong: Reason, call: Part, work: Work = NOTHING_KNOWN, **settings: Any) -> None:
        """Skip what cannot run here, fail what is wrong, and time the rest interleaved.

        unavailable: the reason why a competitor has no time here, or None
        wrong:       what is wrong with its results, or None; asked of those that can run, before any of them is timed
        call:        what is timed, or None where a competitor has no such part
        """
        reason = unavailable(self.name)
        if reason is not None:
            pytest.skip(f"{self.name}: {reason}")
        mistake = wrong(self.name)
        if mistake is not None:
            self._benchmark.fail(f"{self.name} is not timed: {mistake}")
        if call(self.name) is None:
            pytest.skip(f"{self.name}: has no such phase of its own")
        self._benchmark.interleaved(
            lambda: _made([name for name in self.rivals if not (unavailable(name) or wrong(name))], call),
            self.name,
            case=(self._test, *self._common.items()),
            work=replace(work, info={**self._info(), **work.info}),
            **{"seconds": self._grid.seconds, "device": self._grid.device, **settings},
        )

    def run_layer(self, layers: LayerBench, call: Part, **options: Any) -> None:
        """The same for implementations of the layer, which the correctness gate judges."""
        self.run(
            lambda name: layers.unsupported(self.case.spec, name),
            lambda name: layers.mistake(self.case, name, self.rivals),
            call,
            **options,
        )

    def _info(self) -> dict[str, Any]:
        record = self.case.to_record()
        return {
            **{key: value for key, value in self._common.items() if key != "case"},
            self._kind: self.name,
            "status": "passed",
            "case": record.id,
            **{name: getattr(record, name) for name in ("spec", "tokens", "routing", "dtype", "seed")},
        }


def _made(names: list[str], call: Part) -> dict[str, Callable[[], Any]]:
    """The calls to be timed, of those that have one."""
    found: dict[str, Callable[[], Any]] = {}
    for name in names:
        with contextlib.suppress(Exception):  # a rival's failure is shown by its own test
            made = call(name)
            if made is not None:
                found[name] = made
    return found


@pytest.fixture
def contest(request: pytest.FixtureRequest, gpu_benchmark: GpuBenchmark, grid: Grid) -> Contest:
    """The test at hand, as a competitor among its rivals."""
    return Contest(request.node, gpu_benchmark, grid)


@pytest.fixture(scope="session")
def grid(request: pytest.FixtureRequest) -> Grid:
    """What this session measures."""
    return request.config.stash[GRID]


@pytest.fixture(scope="session")
def layers(grid: Grid) -> LayerBench:
    """The implementations, prepared and judged once."""
    return LayerBench(grid.device, grid.dtype)
