"""The wheel holds every sub-package and data file, and works in a clean environment."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
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


def known_files() -> list[str]:
    """What git knows, and what it would take in."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listing.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what git knows, so that no build folder is left in the tree."""
    folder = tmp_path_factory.mktemp("source")
    for name in known_files():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True, capture_output=True)
    return next(folder.glob("mohge-*.whl"))


def test_wheel_holds_packages_and_data(wheel: Path) -> None:
    """Every file of a room but those of people and of the repository: whatever kind of data is added must be listed."""
    names = set(zipfile.ZipFile(wheel).namelist())
    for name in known_files():
        path = Path(name)
        if path.parts[0] in ROOMS and path.suffix not in {".md", ".sh"} and not {"suite", "results"} & set(path.parts):
            assert f"mohge/{name}" in names, f"{name}: not in package-data of pyproject.toml"
    assert "mohge/py.typed" in names
    assert not [name for name in names if name.startswith("mohge/tests")]


def test_source_distribution_builds_and_tests_like_the_repository(source: Path, tmp_path: Path) -> None:
    build = "import sys; from setuptools import build_meta; print(build_meta.build_sdist(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=source, check=True, capture_output=True)
    with tarfile.open(next(tmp_path.glob("mohge-*.tar.gz"))) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers()}
    for name in known_files():
        path = Path(name)
        if not name.startswith(".") and path.suffix != ".md" and "results" not in path.parts:
            assert name in names, f"{name}: not named by MANIFEST.in"
    assert {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE"} <= names


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
