"""Which binaries calls will look for: what an implementation compiles, and what dispatch compiles around it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

from ..dispatch.compilation import Compilation, Target
from ..reference import LayerSpec

# What each kernel language calls a dtype.
_ELEMENTS = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}


@runtime_checkable
class Ahead(Protocol):
    """An implementation that knows what its calls will compile. One without this compiles nothing, or (Numba) keeps
    nothing that another process could use.
    """

    def compilations(self, spec: LayerSpec, dtype: str, tokens: Sequence[int], target: Target) -> Sequence[Compilation]:
        """Everything that a prepared layer's calls with these numbers of tokens launch on `target`, whatever their
        routing, under the keys of those launches; some of it may be there twice. Nothing is compiled, no device asked.

        Raises ValueError where its compiler cannot work here.
        """
        ...


def dispatched(spec: LayerSpec, dtype: str, tokens: Sequence[int], target: Target) -> Sequence[Compilation]:
    """The same for the dispatch around any implementation: plan, permute, combine of the GPU's default backend."""
    from ..dispatch.aot import for_target
    from ..dispatch.triton_backend import launched

    return for_target(launched(tokens, spec.top_k, spec.experts, spec.hidden, _ELEMENTS[dtype]), target)


def missing(compilations: Iterable[Compilation]) -> list[Compilation]:
    """Those that no cache has, each once."""
    each = {compilation.key: compilation for compilation in compilations}
    return [compilation for compilation in each.values() if not compilation.kept()]
