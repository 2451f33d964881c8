"""The versions of an implementation that has several, each a contestant of its own: the ladder.

`cupy` takes for every case the version it thinks fastest, `triton` tiles with everything in them that its log has. Here
each version is held to, whatever the case, so that a run can say what a step of the ladder is worth: `cupy_tile`,
`cupy_mma` and so on, timed in the same rounds as everything else. They are no rivals: what the fastest of them reaches
is what the implementation itself can choose.
A row of the table of tuned configurations serves the implementation it names: a version has rows of its own
(`mohge tune cupy_mma`), and those of `cupy` are not for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from ...kernels import Implementation, load
from ...kernels.cupy.config import KINDS
from ...kernels.table import Entry
from ...kernels.triton.config import VERSIONS as TRITON_VERSIONS

# By implementation, each from the simplest version to the most involved: the order in which one is compared with the
# one before it.
LADDERS: Mapping[str, tuple[str, ...]] = MappingProxyType({"triton": tuple(TRITON_VERSIONS), "cupy": tuple(KINDS)})


@dataclass(frozen=True)
class Version(Entry):
    """An entry whose real implementation is `family`, an implementation of the table, held to one of its versions."""

    family: str = ""
    version: str = ""

    def load(self) -> Implementation:
        """The implementation held to its version. Raises ValueError when its libraries cannot be imported here."""
        implementation: Any = load(self.family)
        return replace(implementation, version=self.version, name=self.name)


VERSIONS: dict[str, Version] = {
    f"{family}_{version}": Version(f"{family}_{version}", f".{family}", family, version)
    for family, versions in LADDERS.items()
    for version in versions
}


def family_of(name: str) -> str | None:
    """The implementation that a contestant is a version of, or None where it stands for itself."""
    found = VERSIONS.get(name)
    return found.family if found is not None else None
