"""Who is running: one byte that the supervisor reads when a worker dies or falls silent."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ...kernels import Layer
from .process import NOBODY

if TYPE_CHECKING:
    from ...dispatch import DispatchPlan


class Marker(Protocol):
    """Its first item is what counts: the mapped file of the supervisor, or a bytearray."""

    def __getitem__(self, index: int, /) -> int: ...
    def __setitem__(self, index: int, number: int, /) -> None: ...


@dataclass(frozen=True)
class Blame:
    """marker: the number of the implementation that is running, or NOBODY;  names: those of the job, in its order;
    guard: called when an implementation has raised and still is to blame, to end the process if the device's context is
    lost.
    """

    marker: Marker
    names: Sequence[str]
    guard: Callable[[], None]

    @contextlib.contextmanager
    def running(self, name: str) -> Iterator[None]:
        """Within the block, `name` is to blame; after it, whoever was before.

        An exception that leaves the block ends the process, so the blame stays where it is.
        """
        before, self.marker[0] = self.marker[0], self.names.index(name)
        yield
        self.marker[0] = before

    def nobody(self) -> None:
        """What runs from now on is the suite's own."""
        self.marker[0] = NOBODY

    def wrapping(self, name: str | None) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
        """Wraps a call so that `name` (None: nobody) is to blame from then on; cheap enough to be timed with it."""
        number, marker = NOBODY if name is None else self.names.index(name), self.marker

        def wrap(call: Callable[[], Any]) -> Callable[[], Any]:
            def run() -> Any:
                marker[0] = number
                return call()

            return run

        return wrap

    def layer(self, name: str, layer: Layer) -> Layer:
        """The layer, itself to blame while it runs, though another one is being checked by it."""
        return _Blamed(self, name, layer)


@dataclass(frozen=True)
class _Blamed:
    blame: Blame
    name: str
    inner: Layer

    def __call__(self, x: Any, plan: DispatchPlan) -> Any:
        failure = None
        with self.blame.running(self.name):
            try:
                y = self.inner(x, plan)
                if x.device.type == "cuda":
                    import torch

                    torch.cuda.synchronize(x.device)  # an error surfaces here, not in the time of the candidate
                return y
            except Exception as error:  # it is for the caller; but first whoever was before is to blame again
                self.blame.guard()
                failure = error
        raise failure

    def phases(self, x: Any, plan: DispatchPlan) -> Mapping[str, Callable[[], Any]]:
        return self.inner.phases(x, plan)

    def executed_flops(self, counts: Any) -> int:
        return self.inner.executed_flops(counts)
