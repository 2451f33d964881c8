"""`triton_per_group`, `cupy_per_group`: our own kernels with one launch of each GEMM per width instead of one for all.

The same kernels, tiles, weights and buffers as `triton` and `cupy`; only the work lists differ: that of a width has no
tiles for experts of others. What the two cost more than the one is therefore the cost of launching by group: every
launch has a last wave that fills the GPU in part, and a start before which the one ahead must have ended. The phases
"gemm1" and "gemm2" show it alone; "plan", and with it the whole layer, also has a pair of work lists for each width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from ...dispatch import DispatchPlan, combine
from ...dispatch.compilation import Compilation, Target
from ...kernels import load
from ...kernels.ahead import Ahead
from ...kernels.common import check_call, check_prepare, width_runs
from ...kernels.grouped import Columns
from ...kernels.interface import Implementation, Layer
from ...kernels.shared_expert import SharedExpertLayer
from ...kernels.tunable import for_routing
from ...reference import ExpertWeights, LayerSpec


class Launches(Protocol):
    """One implementation's launches over work lists that somebody else has chosen."""

    def lists(self, part: Any, plan: DispatchPlan) -> Any:
        """The work lists of `part`, a layer whose column tables leave out some experts."""
        ...

    def buffers(self, plan: DispatchPlan, lists: Any) -> Any:
        """What a call passes from GEMM to GEMM, for all experts."""
        ...

    def gemm1(self, x: torch.Tensor, plan: DispatchPlan, lists: Any, buffers: Any) -> None:
        """fc1 over these lists."""
        ...

    def gemm2(self, plan: DispatchPlan, lists: Any, buffers: Any) -> None:
        """fc2 over these lists."""
        ...

    def combine(self, plan: DispatchPlan, buffers: Any) -> torch.Tensor:
        """What the second GEMMs have filled, summed to y [T, H]."""
        ...


@dataclass(frozen=True)
class PerGroupLayer:
    """`whole`, the layer as its implementation prepares it, and for each width the same with the others left out.

    launches: how to launch the kernels of `whole`
    """

    whole: Any
    parts: tuple[Any, ...]
    launches: Callable[[Any], Launches]
    device: torch.device
    dtype: torch.dtype

    @classmethod
    def split(
        cls, whole: Any, launches: Callable[[Any], Launches], device: torch.device, dtype: torch.dtype
    ) -> PerGroupLayer:
        """Share the weights; leave out experts by giving them no column blocks."""
        parts = [
            replace(whole, **{name: _only(table, first, last) for name, table in _column_tables(whole).items()})
            for first, last in pairwise(width_runs(whole.spec.expert_widths))
        ]
        return cls(whole, tuple(parts), launches, device, dtype)

    def __call__(self, x: torch.Tensor, plan: DispatchPlan) -> torch.Tensor:
        """See `Layer`; no host synchronisation."""
        check_call(x, plan, self.whole.spec, self.device, self.dtype)
        launches = self.launches(self.whole)
        lists = [launches.lists(part, plan) for part in self.parts]
        buffers = launches.buffers(plan, lists[0])
        for mine in lists:
            launches.gemm1(x, plan, mine, buffers)
        for mine in lists:
            launches.gemm2(plan, mine, buffers)
        return launches.combine(plan, buffers)

    def phases(self, x: torch.Tensor, plan: DispatchPlan) -> Mapping[str, Callable[[], Any]]:
        """See `Layer`; each GEMM is the launches of all widths, one after the other."""
        check_call(x, plan, self.whole.spec, self.device, self.dtype)
        launches = self.launches(self.whole)
        lists = [launches.lists(part, plan) for part in self.parts]
        buffers = launches.buffers(plan, lists[0])

        def gemm1() -> None:
            for mine in lists:
                launches.gemm1(x, plan, mine, buffers)

        def gemm2() -> None:
            for mine in lists:
                launches.gemm2(plan, mine, buffers)

        gemm1()
        gemm2()
        return {
            "plan": lambda: [launches.lists(part, plan) for part in self.parts],
            "gemm1": gemm1,
            "gemm2": gemm2,
            "combine": lambda: launches.combine(plan, buffers),
        }

    def executed_flops(self, counts: NDArray[np.int64]) -> int:
        """The same tiles as in one launch."""
        return self.whole.executed_flops(counts)

    def for_routing(self, routing_class: str) -> PerGroupLayer:
        """See `tunable.for_routing`."""
        whole, *parts = (for_routing(each, routing_class) for each in (self.whole, *self.parts))
        return replace(self, whole=whole, parts=tuple(parts))


@dataclass(frozen=True)
class TritonLaunches:
    """Those of a `TritonLayer`."""

    layer: Any

    def lists(self, part: Any, plan: DispatchPlan) -> Any:
        """See `Launches`."""
        return part.plan(plan)

    def buffers(self, plan: DispatchPlan, lists: Any) -> Any:
        """See `Launches`."""
        return self.layer._buffers(plan, lists)

    def gemm1(self, x: torch.Tensor, plan: DispatchPlan, lists: Any, buffers: Any) -> None:
        """See `Launches`."""
        if plan.rows:
            self.layer.gate_up(x, plan, lists, buffers)

    def gemm2(self, plan: DispatchPlan, lists: Any, buffers: Any) -> None:
        """See `Launches`."""
        if plan.rows:
            self.layer.down(plan, lists, buffers)

    def combine(self, plan: DispatchPlan, buffers: Any) -> torch.Tensor:
        """See `Launches`."""
        if not plan.rows:
            return buffers.activation.new_empty(0, self.layer.spec.hidden)
        return self.layer.combine(plan, buffers)


@dataclass(frozen=True)
class CupyLaunches:
    """Those of a `CupyLayer`."""

    layer: Any

    def lists(self, part: Any, plan: DispatchPlan) -> Any:
        """See `Launches`."""
        return part._schedules(plan, self._config(plan))

    def buffers(self, plan: DispatchPlan, lists: Any) -> Any:
        """See `Launches`."""
        return self.layer._buffers(plan, lists)

    def gemm1(self, x: torch.Tensor, plan: DispatchPlan, lists: Any, buffers: Any) -> None:
        """See `Launches`."""
        x = x if x.data_ptr() % 16 == 0 else x.clone()  # cp.async reads 16 bytes
        self.layer._gemm1(x, plan, replace(buffers, schedules=lists), self._config(plan))

    def gemm2(self, plan: DispatchPlan, lists: Any, buffers: Any) -> None:
        """See `Launches`."""
        self.layer._gemm2(plan, replace(buffers, schedules=lists), self._config(plan))

    def combine(self, plan: DispatchPlan, buffers: Any) -> torch.Tensor:
        """See `Launches`."""
        return combine(buffers.rows, plan)

    def _config(self, plan: DispatchPlan) -> Any:
        return self.layer.choices.of(plan.tokens, self.layer.routing_class)


@dataclass(frozen=True)
class PerGroup:
    """An entry of the table: `inner` launched by group."""

    inner: Implementation
    launches: Callable[[Any], Launches]

    @property
    def name(self) -> str:
        """See `Implementation.name`."""
        return f"{self.inner.name}_per_group"

    @property
    def description(self) -> str:
        """See `Implementation.description`."""
        return f"the kernels of {self.inner.name} with one launch of each GEMM per width in the place of one for all"

    def supports(self, spec: LayerSpec, dtype: torch.dtype, device: torch.device) -> str | None:
        """See `Implementation.supports`: unequal widths, and what the implementation itself needs."""
        if len(set(spec.widths)) == 1:
            return f"expected unequal widths: with one width this is {self.inner.name}"
        return self.inner.supports(spec, dtype, device)

    def prepare(self, spec: LayerSpec, weights: ExpertWeights, device: torch.device | str, dtype: torch.dtype) -> Layer:
        """See `Implementation.prepare`."""
        device = torch.device(device)
        check_prepare(self.supports(spec, dtype, device), self.name)
        layer = self.inner.prepare(spec, weights, device, dtype)
        if isinstance(layer, SharedExpertLayer):
            return replace(layer, inner=PerGroupLayer.split(layer.inner, self.launches, device, dtype))
        return PerGroupLayer.split(layer, self.launches, device, dtype)

    def compilations(self, spec: LayerSpec, dtype: str, tokens: Sequence[int], target: Target) -> Sequence[Compilation]:
        """See `ahead.Ahead`: the kernels are those of one launch for all."""
        return self.inner.compilations(spec, dtype, tokens, target) if isinstance(self.inner, Ahead) else []


def _column_tables(layer: Any) -> dict[str, Mapping[Any, Columns]]:
    """The fields of a prepared layer that hold column blocks, by name. Raises ValueError where there are none."""
    values = {field.name: getattr(layer, field.name) for field in fields(layer)}
    tables = {
        name: value
        for name, value in values.items()
        if isinstance(value, Mapping) and value and all(isinstance(entry, Columns) for entry in value.values())
    }
    if not tables:
        raise ValueError(f"expected a layer with tables of column blocks, got {type(layer).__name__}")
    return tables


def _only(table: Mapping[Any, Columns], first: int, last: int) -> dict[Any, Columns]:
    """The column blocks of experts first to last - 1, and none of the others."""
    result = {}
    for key, columns in table.items():
        blocks = torch.zeros_like(columns.blocks)
        blocks[first:last] = columns.blocks[first:last]
        result[key] = Columns(blocks, int(blocks.max()))
    return result


TRITON_PER_GROUP = PerGroup(load("triton"), TritonLaunches)
CUPY_PER_GROUP = PerGroup(load("cupy"), CupyLaunches)
