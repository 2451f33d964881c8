"""Faults planted in the CUDA C++: a line of the sources replaced by a wrong one must be noticed."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mohge.dispatch.cuda.engine import TensorMap
from mohge.kernels.cupy import launch


@dataclass(frozen=True)
class Fault:
    """`right` occurs in `file` and becomes `wrong`; kinds: what the host twin may say, "error" for wrong numbers."""

    name: str
    file: str
    right: str
    wrong: str
    kinds: set[str]

    def __str__(self) -> str:
        return f"{self.file.split('.')[0]}-{self.name.replace(' ', '-')}"

    def plant(self, folder: Path) -> None:
        """Copy the sources to `folder`, one of them with the fault."""
        for source in launch.FOLDER.glob("*.cu*"):
            shutil.copy(source, folder)
        text = (folder / self.file).read_text()
        assert self.right in text, f"{self.file} no longer holds {self.right!r}"
        (folder / self.file).write_text(text.replace(self.right, self.wrong))


class PatchedEngine:
    """Loads from another folder what a launcher asks of its own, and may shorten the boxes of tensor maps."""

    def __init__(self, engine: Any, folder: Path, short: int = 0) -> None:
        self._engine, self._folder, self._short = engine, folder, short

    def load(self, source_file: Path, defines: Any) -> Any:
        module, short = self._engine.load(self._folder / source_file.name, defines), self._short

        class Module:
            def launch(self, name: str, grid: Any, block: Any, args: Any, *rest: Any, **how: Any) -> None:
                args = [replace(a, box_rows=a.box_rows - short) if isinstance(a, TensorMap) else a for a in args]
                module.launch(name, grid, block, args, *rest, **how)

        return Module()
