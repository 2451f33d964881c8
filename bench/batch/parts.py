"""The parts, each a list of steps with the most valuable first: a part that runs out of time has lost the least."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..peers import VERSIONS
from .step import Command, Step

# Of a command of 10 minutes, what starting, packing and copying do not take.
BUDGET_S = 570.0
TRIALS = 1000  # more than there is time for: minutes end a study
# What of a case's time is not timing, reckoned: reference and checks on 16 cores, and 0.1 s of warm-up, hot and cold,
# for each of a dozen implementations; and once a job: imports, weights, and those compilers that keep nothing (Numba's)
# or are not ours. Ours, all at once while weights are made, count for nothing: the 19 kernels of mohge-3b took 9 s one
# after the other, the longest of them 1.4 s.
CASE_S, JOB_S = 8.0, 52.0
WATCHED_S = 84.0  # telemetry: 7 s for each of a dozen implementations, on the largest case
TIMED = 2.5  # --seconds is spent hot and cold, a quarter of it each on phases and end to end
EVERYTHING = "all,peers"
LADDER = "all,ladder"  # each version beside the implementation itself, and the baselines
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Where:
    """What the parts are made for.

    device: cuda, or cpu to try the commands where there is no GPU: on small layers, times meaning nothing
    traces: the folder with recorded routings
    """

    device: str = "cuda"
    traces: Path = Path("../shared/data")

    @property
    def tokens(self) -> str:
        """The batch sizes, the one that says most first."""
        return "16384,64,65536,1024" if self.device != "cpu" else "16"

    @property
    def implementations(self) -> str:
        """Everything that competes, as the command line names it."""
        return EVERYTHING if self.device != "cpu" else "padded_bmm,torch_loop"

    @property
    def ladder(self) -> str:
        """The versions of ours and what they are timed beside."""
        return LADDER if self.device != "cpu" else f"{self.implementations},ladder"

    def found(self, pattern: str) -> Path | None:
        """The first trace of this pattern."""
        return next(iter(sorted(self.traces.glob(pattern))), None)


def mohge(*words: str) -> list[str]:
    """A command line of `mohge` in this Python."""
    return [sys.executable, "-m", "mohge", *words]


def check(where: Where) -> list[Step]:
    """Facts of the machine, then the tests marked gpu, a step for each room, the fastest first."""
    facts = "nvidia-smi; nvidia-smi -q -d CLOCK,POWER,PERFORMANCE,MEMORY,ECC; nvcc --version; " + shlex.join(
        [sys.executable, "-m", "pip", "list", "--format=freeze"]
    )
    steps = [
        Step("doctor", lambda _s, out: mohge("doctor", "--json", f"{out}/doctor.json"), 20, most=60),
        Step("facts", lambda _s, _out: ["sh", "-c", f"{facts}; true"], 10, most=30),
        Step(
            "small",
            _small("torch_loop,padded_bmm,triton,cupy,torch_grouped_mm,numba,numba_mma,ladder", where, "--ahead"),
            70,
            most=140,
        ),
    ]
    for name, paths, estimate in gpu_tests():
        steps.append(Step(f"tests-{name}", _pytest(paths), estimate, most=3 * estimate))
    return steps


def grid(where: Where) -> list[Step]:
    """Layer and phases of everything that competes: made and recorded loads on mohge-3b, the ladder of versions there,
    then layers of others.
    """
    loads = where.found("olmoe*.counts.csv")
    chosen = ["--trace", str(loads), "--domain", "arxiv", "--layer", "7"] if loads else []
    routings = ["--routing", "uniform", "--routing", "zipf:1.0", *chosen]
    sizes = where.tokens.count(",") + 1
    cases = sizes * (3 if loads else 2)
    steps = [_timed("mohge-3b", _bench(where, "mohge-3b", cases, *routings), cases, 270, most=400)]
    rungs = _bench(where, "mohge-3b", sizes, "--routing", "uniform", telemetry="off", names=where.ladder)
    steps.append(_timed("ladder", rungs, sizes, 100))
    tokens = where.found("*.topk.npz")
    # With one GPU of 80 GB the float32 weights of all but these two are too long in the making.
    if tokens:
        steps.append(
            _timed(
                "gpt-oss",
                _bench(where, "gpt-oss-20b-hetero", sizes, "--trace", str(tokens), telemetry="off"),
                sizes,
                100,
            )
        )
    ours = _bench(where, "mohge-3b-uniform", sizes, "--routing", "uniform", telemetry="off")
    theirs = _bench(where, "olmoe-1b-7b", sizes, "--routing", "uniform", telemetry="off")
    return [*steps, _timed("uniform", ours, sizes, 85), _timed("olmoe", theirs, sizes, 75)]


def tune(where: Where) -> list[Step]:
    """The launch configurations of our kernels, prefill before decode, those nearest to the limit first."""
    steps = []
    for name, tokens, estimate in (
        ("triton", "16384", 170.0),
        ("cupy", "16384", 170.0),
        ("triton", "64", 80.0),
        ("cupy", "64", 80.0),
        ("numba_mma", "16384", 60.0),
    ):
        steps.append(Step(f"{name}-{tokens}", _sweep(name, tokens, where), estimate, least=40, most=240))
    return steps


def trust(where: Where) -> list[Step]:
    """What the figures are worth: the same against the same, ways of timing against each other, what sampling costs."""
    names = "padded_bmm,triton,cupy,torch_grouped_mm" if where.device != "cpu" else "padded_bmm,torch_loop"
    tokens = "64,16384" if where.device != "cpu" else "16"
    steps = [Step(f"again-{number}", _repeated(where, names, tokens), 55, least=30, most=80) for number in (1, 2, 3, 4)]
    steps.append(Step("same", _compared("again-1,again-3", "again-2,again-4"), 10, most=40, answers=_SLOWER))
    steps.append(Step("cost", lambda _s, out: mohge("trace", "--cost", "--json", f"{out}/cost.json"), 45, most=90))
    ways = ("events", "graph", "cupti") if where.device != "cpu" else ("cpu",)
    needs = {"cupti": "module:cupti"}
    for way in ways:
        timed = _repeated(where, names, tokens, "--timer", way)
        steps.append(Step(f"timer-{way}", timed, 55, least=30, most=80, needs=needs.get(way, "")))
    for way in ways[1:]:
        compared = _compared(f"timer-{ways[0]}", f"timer-{way}", "--force")
        steps.append(Step(f"{ways[0]}-{way}", compared, 10, most=40, needs=needs.get(way, ""), answers=_SLOWER))
    return steps


def sanitize(where: Where) -> list[Step]:
    """NVIDIA's checkers of memory, races and barriers over one small layer of each of our kernels, in every version."""
    steps = []
    for tool in ("memcheck", "racecheck", "synccheck"):
        for name, estimate in (("cupy", 70.0), ("triton", 45.0), ("numba", 30.0), ("numba_mma", 35.0)):
            versions = [version for version, one in VERSIONS.items() if one.family == name]
            small = _small(",".join([name, *versions]), where)
            wrapped = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "86"]
            command: Command = lambda s, out, small=small, wrapped=wrapped: [*wrapped, *small(s, out)]  # noqa: E731
            # Each tensor an allocation of its own, or a read past its end falls into its neighbour unseen.
            alone = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
            steps.append(Step(f"{tool}-{name}", command, estimate, most=150, needs=wrapped[0], environment=alone))
    return steps


def place(where: Where) -> list[Step]:
    """Ranks of placements run on the device beside what the simulation says of them."""
    loads = where.found("olmoe*.counts.csv")
    recorded = ["--loads", str(loads), "--domain", "arxiv", "--layer", "7"] if loads else []
    tokens = "16384" if where.device != "cpu" else "64"
    steps = []
    for policy in ("aga", "eplb", "lpt", "contiguous"):
        for name, source in (("recorded", recorded), ("zipf", [])):
            if source or name == "zipf":
                command = _placed(where, policy, tokens, source)
                steps.append(Step(f"{policy}-{name}", command, 70, least=40, most=120))
    return steps


PARTS: dict[str, Callable[[Where], list[Step]]] = {
    "check": check,
    "grid": grid,
    "tune": tune,
    "trust": trust,
    "sanitize": sanitize,
    "place": place,
}
_SLOWER = {1: "the second is slower"}
# Rooms of the tests marked gpu, the fastest first; others come last. Seconds are reckoned: what a compiler takes there.
_ROOMS = {
    "records": 15,
    "telemetry": 15,
    "timing": 20,
    "runner": 20,
    "plugin": 20,
    "baselines": 25,
    "dispatch": 50,
    "triton": 70,
    "twin": 70,
    "cupy": 70,
    "numba": 70,
}


def gpu_tests(root: Path = ROOT) -> list[tuple[str, list[str], float]]:
    """The test files that hold tests marked gpu, by room: its name, its files, the estimate in seconds."""
    rooms: dict[str, list[str]] = {}
    for path in sorted((root / "tests").rglob("test_*.py")):
        if "mark.gpu" in path.read_text(encoding="utf-8") and path.parent.name != "batch":
            rooms.setdefault(_room(path), []).append(str(path.relative_to(root)))
    order = [name for name in _ROOMS if name in rooms] + [name for name in rooms if name not in _ROOMS]
    return [(name, rooms[name], float(_ROOMS.get(name, 40))) for name in order]


def _room(path: Path) -> str:
    if "host_twin" in path.parts or path.stem.endswith("_host"):
        return "twin"  # the same inputs to the kernels here and to their twin on the host
    if path.parent.name == "kernels":
        return next((name for name in ("triton", "cupy", "numba", "baselines") if name in path.stem), "kernels")
    return path.parent.name


def _pytest(paths: list[str]) -> Command:
    # A deprecation in a library version that nobody has tried is no failure here.
    words = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "--no-header", "-W", "default", "-rfEs", "--tb=short"]
    return lambda _seconds, _out: [*words, *(str(ROOT / path) for path in paths)]


def _small(names: str, where: Where, *words: str) -> Command:
    small = [sys.executable, "-m", "mohge.bench.batch.small", "--device", where.device, "--implementations", names]
    return lambda _seconds, _out: [*small, *words]


def _timed(name: str, command: Command, cases: int, estimate: float, most: float = 200.0) -> Step:
    return Step(name, command, estimate, least=min(estimate, JOB_S / 2 + CASE_S * cases / 4), most=most)


def _bench(where: Where, spec: str, cases: int, *words: str, telemetry: str = "auto", names: str = "") -> Command:
    """`mohge bench` with the seconds a case that fit the time granted. names: others than everything that competes."""

    def command(seconds: float, out: str) -> list[str]:
        each = max(
            0.3,
            min(4.0, (seconds - JOB_S - CASE_S * cases - (WATCHED_S if telemetry == "auto" else 0)) / (TIMED * cases)),
        )
        how = ["--seconds", f"{each:.2f}", "--timeout", "90", "--telemetry", telemetry, "--no-report", "--out", out]
        what = ["--spec", spec, "--tokens", where.tokens, "--implementations", names or where.implementations]
        return mohge("bench", "--device", where.device, *what, *words, *how)

    return command


def _repeated(where: Where, names: str, tokens: str, *words: str) -> Command:
    what = ["--tokens", tokens, "--routing", "uniform", "--implementations", names, "--telemetry", "off"]
    seconds = "2" if where.device != "cpu" else "0.2"
    how = ["--seconds", seconds, "--timeout", "60", "--no-report", *words]
    return lambda _seconds, out: mohge("bench", "--device", where.device, *what, *how, "--out", out)


def _compared(a: str, b: str, *words: str) -> Command:
    """`mohge compare` of runs that lie beside the step's own folder, several a side separated by commas."""

    def command(_seconds: float, out: str) -> list[str]:
        beside = Path(out).parent
        sides = [
            ",".join(str(run) for name in side.split(",") for run in sorted((beside / name).glob("*/run.json")))
            for side in (a, b)
        ]
        how = ["--fail-on", "slower", "--anchor", "none", "--json", f"{out}/compare.json", *words]
        return mohge("compare", *(side or f"{beside}/none" for side in sides), *how)

    return command


def _sweep(name: str, tokens: str, where: Where) -> Command:
    def command(seconds: float, out: str) -> list[str]:
        # A quarter of the time is for the finals, and for starting.
        minutes = f"{max(0.2, 0.7 * seconds / 60):.2f}"
        what = ["--tokens", tokens, "--routing", "zipf:1.0", "--sampler", "sweep", "--trials", str(TRIALS)]
        how = ["--seconds", "0.2", "--timeout", "40", "--finalists", "4", "--minutes", minutes, "--out", out]
        return mohge("tune", name, "--device", where.device, *what, *how)

    return command


def _placed(where: Where, policy: str, tokens: str, source: list[str]) -> Command:
    names = "triton" if where.device != "cpu" else "torch_loop"
    what = ["--ranks", "8", "--policy", policy, "--tokens", tokens, *source, "--implementations", names]
    how = ["--device", where.device, "--seconds", "0.5", "--timeout", "60"]
    return lambda _seconds, out: mohge("place", "--measure", *what, *how, "--out", out)
