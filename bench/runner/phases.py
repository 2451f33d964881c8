"""The parts of a served layer around an implementation's own: routing, the dispatch plan, and all of it in one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...dispatch import make_plan
from ...kernels import PHASES, Layer
from ...reference import LayerSpec, Routing

if TYPE_CHECKING:
    import torch

    from ...dispatch import DispatchPlan

ROUTE, PLAN, END_TO_END = "route", "plan", "end_to_end"
# The order in which a record carries them. An implementation leaves out what it fuses; there is a route only where
# the routing is a router's.
ORDER = (ROUTE, *PHASES, END_TO_END)


@dataclass(frozen=True)
class Front:
    """What comes before the layer, on its device.

    routing: int64[T, K] ids and float32[T, K] weights, as torch tensors
    router:  gives a routing for x [T, H]; None where the routing is a distribution's or a trace's
    """

    spec: LayerSpec
    routing: Routing
    router: Callable[[torch.Tensor], Routing] | None = None

    def plan(self) -> DispatchPlan:
        """The dispatch plan of the routing. Nothing is checked: that is no part of a served layer."""
        return make_plan(self.routing, self.spec, validate=False)

    def served(self, layer: Layer, x: torch.Tensor) -> Callable[[], Any]:
        """Route (where there is a router), plan and layer in one call."""

        def call() -> Any:
            routing = self.routing if self.router is None else self.router(x)
            return layer(x, make_plan(routing, self.spec, validate=False))

        return call

    def parts(self, layer: Layer, x: torch.Tensor, plan: DispatchPlan) -> Mapping[str, Callable[[], Any]]:
        """The layer's own phases, with "plan" from the routing to the implementation's work list."""
        own = dict(layer.phases(x, plan))
        work_list = own.pop(PLAN, None)

        def whole_plan() -> None:
            self.plan()
            if work_list is not None:
                work_list()

        return {PLAN: whole_plan, **own}


def in_order(phases: Mapping[str, Any]) -> dict[str, Any]:
    """Phases in the order a record carries them; unknown names last."""
    known = {name: phases[name] for name in ORDER if name in phases}
    return {**known, **phases}
