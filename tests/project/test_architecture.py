"""Imports only go down: reference, dispatch, kernels | placement, bench; and inside bench, floor by floor."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ALLOWED = {
    "reference": set(),
    "dispatch": {"reference"},
    "kernels": {"dispatch", "reference"},
    "placement": {"reference"},
    "bench": {"kernels", "placement", "dispatch", "reference"},
}
FLOORS = [
    "records",
    "workloads",
    "gate",
    "timing",
    "telemetry",
    "peers",
    "runner",
    "tuning",
    "whatif",
    "comparison",
    "report",
    "plugin",
    "export",
    "cli",
    "batch",
]


def imported_modules(path: Path) -> set[tuple[str, ...]]:
    """The modules of this project that a file imports, as paths below the root: ("bench", "records")."""
    found: set[tuple[str, ...]] = set()
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                base = package[: len(package) - node.level + 1]
                module = (*base, *((node.module or "").split(".") if node.module else ()))
            elif node.module and node.module.split(".")[0] == "mohge":
                module = tuple(node.module.split(".")[1:])
            else:
                continue
            found.update((*module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            found.update(
                tuple(alias.name.split(".")[1:]) for alias in node.names if alias.name.split(".")[0] == "mohge"
            )
    return found


def sources(room: str) -> list[Path]:
    return sorted(path for path in (ROOT / room).rglob("*.py") if "suite" not in path.parts)


@pytest.mark.parametrize("room", ALLOWED)
def test_rooms_import_only_what_lies_below(room: str) -> None:
    paths = sources(room)
    assert paths, f"{room} has no sources"
    for path in paths:
        for module in imported_modules(path):
            if module[0] in ALLOWED:
                assert module[0] == room or module[0] in ALLOWED[room], f"{path.relative_to(ROOT)} imports {module}"


def test_floors_of_bench_import_only_earlier_ones() -> None:
    for path in sources("bench"):
        here = path.relative_to(ROOT).parts[1]
        if here not in FLOORS:
            continue
        for module in imported_modules(path):
            if module[0] == "bench" and len(module) > 1 and module[1] in FLOORS:
                assert FLOORS.index(module[1]) <= FLOORS.index(here), f"{path.relative_to(ROOT)} imports {module}"


def test_every_folder_of_bench_is_a_known_floor() -> None:
    folders = {path.parent.name for path in (ROOT / "bench").glob("*/__init__.py")}
    assert folders <= {*FLOORS, "suite"}, folders


@pytest.mark.parametrize("room", ["reference", "placement"])
def test_ground_floors_are_numpy_only(room: str) -> None:
    for path in sources(room):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            for name in names:
                assert name.split(".")[0] not in {"torch", "triton", "cupy", "numba"}, f"{path} imports {name}"
