"""The wheel holds every sub-package and data file, and works in a clean environment."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("reference", "dispatch", "kernels", "placement", "bench")


def project_table() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_pyproject_lists_every_package() -> None:
    listed = set(project_table()["tool"]["setuptools"]["packages"])
    folders = {
        ".".join(("mohge", *path.parent.relative_to(ROOT).parts))
        for room in ROOMS
        for path in (ROOT / room).rglob("__init__.py")
    }
    assert listed == {"mohge", *folders}


def test_every_source_folder_is_a_package() -> None:
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            if "suite" not in path.parts:
                assert (path.parent / "__init__.py").exists(), f"{path.parent} has no __init__.py"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # Build from a copy of what git knows, so that no build folder is left in the tree.
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    for name in filter(None, files):
        if (ROOT / name).is_file():
            target = folder / "source" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            str(folder),
            str(folder / "source"),
        ],
        check=True,
        capture_output=True,
    )
    return next(folder.glob("mohge-*.whl"))


def test_wheel_holds_packages_and_data(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for room in ROOMS:
        for path in (ROOT / room).rglob("*"):
            wanted = path.suffix in {".py", ".cu", ".cuh", ".j2", ".css", ".js", ".json"}
            if wanted and "suite" not in path.parts and "results" not in path.parts:
                assert f"mohge/{path.relative_to(ROOT)}" in names, path
    assert "mohge/py.typed" in names
    assert not [name for name in names if name.startswith("mohge/tests")]


def test_installed_wheel_answers_doctor(wheel: Path, tmp_path: Path) -> None:
    """A clean environment sees the wheel and, for its dependencies, the packages installed here."""
    environment = tmp_path / "clean"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    site = next((environment / "lib").glob("python*")) / "site-packages"
    zipfile.ZipFile(wheel).extractall(site)
    dependencies = [path for path in sys.path if path.endswith("site-packages")]
    (site / "dependencies.pth").write_text("\n".join(dependencies), encoding="utf-8")
    where = subprocess.run(
        [python, "-I", "-c", "import mohge; print(mohge.__file__)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert where.stdout.strip() == str(site / "mohge" / "__init__.py")
    done = subprocess.run(
        [python, "-I", "-m", "mohge", "doctor", "--json", "-"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    parts = {part["part"]: part["mode"] for part in json.loads(done.stdout)["parts"]}
    assert parts["reference"] == "complete"
    assert {"triton", "cupy", "numba", "padded_bmm", "torch_loop", "torch_grouped_mm"} <= set(parts)
