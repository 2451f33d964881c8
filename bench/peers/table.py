"""The peers by name, each imported when first used, and everything that can be measured: ours, theirs, our versions."""

from __future__ import annotations

import difflib
import importlib
from collections import ChainMap
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from importlib import metadata
from types import MappingProxyType
from typing import TYPE_CHECKING

from ...kernels import IMPLEMENTATIONS, Implementation, load
from ...kernels.table import Entry
from .ladder import VERSIONS

if TYPE_CHECKING:
    import torch

    from ...reference import LayerSpec


@dataclass(frozen=True)
class Peer(Entry):
    """An entry of whose `module` the constant called `name`, in capitals, is the real implementation.

    package: the distribution it comes in; empty for our own kernels launched in another way
    """

    package: str = ""

    @property
    def version(self) -> str | None:
        """The package and its version, "liger-kernel 0.8.5"; None where it is not installed, "" where there is none."""
        if not self.package:
            return ""
        try:
            return f"{self.package} {metadata.version(self.package)}"
        except metadata.PackageNotFoundError:
            return None

    @property
    def missing(self) -> str | None:
        """None, or that the package is not installed."""
        return None if self.version is not None else f"not installed: {self.package} (pip install mohge[peers])"

    def load(self) -> Implementation:
        """The real implementation. Raises ValueError when it is not installed or cannot be imported here."""
        if self.missing:
            raise ValueError(f"{self.name}: {self.missing}")
        try:
            return getattr(importlib.import_module(self.module, __package__), self.name.upper())
        except Exception as error:  # a package of others, whose import may do and raise anything
            raise ValueError(f"{self.name}: cannot be imported: {type(error).__name__}: {error}") from error

    def supports(self, spec: LayerSpec, dtype: torch.dtype, device: torch.device) -> str | None:
        """See `Implementation.supports`; a package that is missing or cannot be imported is a reason too."""
        return self.missing or super().supports(spec, dtype, device)


PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer("torch_grouped_mm_padded", ".padded", "torch"),
        Peer("liger", ".liger", "liger-kernel"),
        Peer("moe_ops", ".moe_ops", "moe-ops"),
        Peer("triton_per_group", ".per_group"),
        Peer("cupy_per_group", ".per_group"),
    )
}

# Their kernels are Triton's: on a CPU they run only interpreted, in a time that says nothing.
TRITON_PEERS = (
    *("liger", "moe_ops", "triton_per_group"),
    *(name for name, version in VERSIONS.items() if version.family == "triton"),
)
# Everything that may compete, by name; a live view of all tables.
CONTESTANTS: MutableMapping[str, Implementation] = ChainMap[str, Implementation](
    {}, IMPLEMENTATIONS, {**PEERS}, {**VERSIONS}
)
# Words that stand for several names.
SETS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"all": tuple(IMPLEMENTATIONS), "peers": tuple(PEERS), "ladder": tuple(VERSIONS)}
)


def contestant(name: str) -> Implementation:
    """The implementation, peer or version called `name`.

    Raises ValueError for an unknown name, with the nearest known one or set, and for one of ours whose libraries cannot
    be imported; a peer that is not installed and a version that cannot be imported say so in `supports`.
    """
    if name not in CONTESTANTS:
        near = difflib.get_close_matches(str(name), [*SETS, *IMPLEMENTATIONS, *PEERS, *VERSIONS], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        known = f"{', '.join(IMPLEMENTATIONS)}; peers: {', '.join(PEERS)}; ladder: {', '.join(VERSIONS)}"
        raise ValueError(f"unknown implementation {name!r}{hint} Known: {known}")
    return load(name) if name in IMPLEMENTATIONS else CONTESTANTS[name]


def peer_notes(name: str) -> dict[str, str]:
    """What a record of this implementation says of the peer behind it: {"peer": "liger-kernel 0.8.5"}; {} for ours."""
    peer = PEERS.get(name)
    if peer is None or not peer.package:
        return {}
    return {"peer": peer.version or f"{peer.package}, not installed"}
