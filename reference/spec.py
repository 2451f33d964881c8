"""The shape of one heterogeneous grouped expert layer, and where shapes come from."""

from __future__ import annotations

import difflib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .presets import PRESETS
from .tables import check_keys, read_toml


@dataclass(frozen=True)
class LayerSpec:
    """A mixture-of-experts layer whose experts come in groups of equal width (arXiv 2604.23108, section 3).

    Experts are numbered group-major: expert ``e = g * experts_per_group + i`` is the i-th of group g.

    name:               what reports call it
    hidden:             H, the model width
    widths:             W_g, the FFN width of each group, one per group
    experts_per_group:  N
    top_k:              K, experts per token
    top_groups:         K_g, groups per token; K <= K_g * N
    shared_width:       width of a dense expert every token passes through; 0 means there is none

    Raises ValueError when the numbers do not make a layer.

    >>> spec = LayerSpec("tiny", hidden=4, widths=(2, 6), experts_per_group=2, top_k=2, top_groups=1)
    >>> spec.expert_widths
    array([2, 2, 6, 6])
    """

    name: str
    hidden: int
    widths: tuple[int, ...]
    experts_per_group: int
    top_k: int
    top_groups: int
    shared_width: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.widths, int | str):
            raise ValueError(f"widths: expected a list with one width per group, got {self.widths!r}")
        try:
            widths = tuple(self.widths)
        except TypeError:
            raise ValueError(f"widths: expected a list with one width per group, got {self.widths!r}") from None
        object.__setattr__(self, "widths", tuple(_whole("widths", width, 1) for width in widths))
        if not self.widths:
            raise ValueError("widths: expected at least one group, got none")
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(f"name: expected a non-empty text, got {self.name!r}")
        for field, least in (
            ("hidden", 1),
            ("experts_per_group", 1),
            ("top_k", 1),
            ("top_groups", 1),
            ("shared_width", 0),
        ):
            object.__setattr__(self, field, _whole(field, getattr(self, field), least))
        if self.top_groups > self.groups:
            raise ValueError(
                f"top_groups: expected at most {self.groups} (the number of groups), got {self.top_groups}"
            )
        if self.top_k > self.experts:
            raise ValueError(f"top_k: expected at most {self.experts} (the number of experts), got {self.top_k}")
        reachable = self.top_groups * self.experts_per_group
        if self.top_k > reachable:
            raise ValueError(
                f"top_k: expected at most {reachable} (top_groups {self.top_groups} x experts_per_group "
                f"{self.experts_per_group}), got {self.top_k}"
            )

    @classmethod
    def preset(cls, name: str) -> LayerSpec:
        """The preset called `name` (DESIGN.md section 3). Raises ValueError naming the nearest when there is none."""
        if name not in PRESETS:
            near = difflib.get_close_matches(str(name), PRESETS, n=1, cutoff=0.3)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise ValueError(f"unknown preset {name!r}{hint} Known: {', '.join(PRESETS)}")
        return cls(name=name, **PRESETS[name])

    @classmethod
    def from_toml(cls, path: str | Path) -> LayerSpec:
        """Read a spec from a TOML file whose keys are the fields of this class.

        Raises ValueError for a file that cannot be read, is not TOML, or has missing, unknown or impossible values.
        """
        path = Path(path)
        table = read_toml(path)
        try:
            return cls.from_dict({"name": path.stem, **table})
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    @classmethod
    def from_dict(cls, table: dict[str, Any]) -> LayerSpec:
        """Make a spec from a plain mapping, as found in a TOML file or a run file. Raises ValueError."""
        known = [field.name for field in fields(cls)]
        check_keys(table, known)
        missing = [key for key in known if key not in table and key != "shared_width"]
        if missing:
            raise ValueError(f"missing {', '.join(missing)}")
        return cls(**table)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON types; ``LayerSpec.from_dict`` reads them back."""
        return {**asdict(self), "widths": list(self.widths)}

    @property
    def groups(self) -> int:
        """G."""
        return len(self.widths)

    @property
    def experts(self) -> int:
        """E = G * N."""
        return self.groups * self.experts_per_group

    @property
    def expert_widths(self) -> NDArray[np.int64]:
        """W_e, int64[E]."""
        return np.repeat(np.asarray(self.widths, dtype=np.int64), self.experts_per_group)

    @property
    def expert_groups(self) -> NDArray[np.int64]:
        """The group of every expert, int64[E]."""
        return np.repeat(np.arange(self.groups, dtype=np.int64), self.experts_per_group)


def _whole(field: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ValueError(f"{field}: expected a whole number, got {value!r}")
    if value < least:
        raise ValueError(f"{field}: expected at least {least}, got {value}")
    return int(value)
