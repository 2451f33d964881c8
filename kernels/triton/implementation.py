"""The entry `triton` of the table: what it supports, how it is prepared and tuned. Triton is imported when asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..choice import Choices, choices
from ..values import GEMMS, Value, broken_rule
from .config import SHARED_BYTES, VERSIONS, Configuration, choose, from_values, offered, space, to_values

if TYPE_CHECKING:
    import torch

    from ...dispatch.aot import TritonCompilation
    from ...dispatch.compilation import Target
    from ...reference import ExpertWeights, LayerSpec
    from ..interface import Layer
    from ..tunable import GemmWork


@dataclass(frozen=True)
class TritonImplementation:
    """One persistent launch per GEMM over a device-built work list; see `layer.py`.

    version: "auto", or what is left out of every tile (`config.VERSIONS`): "pointers" loads without descriptors and,
             like "unswapped", does without what is there for decode
    """

    version: str = "auto"
    name: str = "triton"

    def __post_init__(self) -> None:
        if self.version not in ("auto", *VERSIONS):
            raise ValueError(f"version: expected one of auto, {', '.join(VERSIONS)}, got {self.version!r}")

    @property
    def description(self) -> str:
        """See `Implementation.description`."""
        what = {
            "auto": "",
            "pointers": "; loads by pointers alone, nothing swapped or split",
            "unswapped": "; nothing swapped or split for few rows",
        }
        whole = "one persistent Triton launch per GEMM for all widths; gather and SwiGLU fused into the first"
        return f"{whole}{what[self.version]}"

    def supports(self, spec: LayerSpec, dtype: torch.dtype, device: torch.device) -> str | None:  # noqa: ARG002
        """See `Implementation.supports`. Any hidden size and widths; float32, float16, bfloat16.

        Needs a GPU whose blocks may use 192 KiB of shared memory (compute capability 9.0 or 10.0), or the CPU with
        TRITON_INTERPRET=1, where bfloat16 is refused.
        """
        import torch

        from ..common import check_triton

        device = torch.device(device)
        reason = check_triton(dtype, device)
        if reason is not None:
            return reason
        if device.type == "cuda":
            shared = torch.cuda.get_device_properties(device).shared_memory_per_block_optin
            if shared < SHARED_BYTES:
                return f"needs {SHARED_BYTES // 1024} KiB of shared memory a block, this GPU has {shared // 1024}"
        return None

    def prepare(
        self,
        spec: LayerSpec,
        weights: ExpertWeights,
        device: torch.device | str,
        dtype: torch.dtype,
        configuration: Configuration | None = None,
        routing_class: str = "any",
    ) -> Layer:
        """See `Implementation.prepare`. `configuration` fixes the tiles; otherwise a call gets those of its size and
        of `routing_class` (see `tuned.py`).
        """
        import torch

        from ..common import check_prepare, dtype_name, gpu_name
        from ..shared_expert import with_shared_expert

        device = torch.device(device)
        check_prepare(self.supports(spec, dtype, device), self.name)
        from .layer import TritonLayer

        found = self._choices(spec, dtype_name(dtype), gpu_name(device), configuration)
        layer = TritonLayer.prepare(spec, weights, device, dtype, found, routing_class)
        return with_shared_expert(layer, spec, weights, device, dtype)

    def space(self, spec: LayerSpec, dtype: str) -> dict[str, tuple[Value, ...]]:  # noqa: ARG002
        """See `Tunable.space` and, for the reasons, `config.py`."""
        held = {f"{gemm}_{field}": (value,) for gemm in GEMMS for field, value in self._left_out.items()}
        return {**space(dtype), **held}

    def check_values(self, values: Mapping[str, Value], spec: LayerSpec, dtype: str) -> str | None:
        """See `Tunable.check_values`."""
        return broken_rule(lambda: self._parse(values, spec, dtype))

    def current_values(self, spec: LayerSpec, rows: int, dtype: str) -> dict[str, Value]:
        """See `Tunable.current_values`."""
        from ..common import gpu_name

        return to_values(self._choices(spec, dtype, gpu_name()).of(-(-rows // spec.top_k), "any"))

    def compile_values(self, values: Mapping[str, Value], spec: LayerSpec, dtype: str) -> list[dict[str, Any]]:
        """See `Tunable.compile_values`; for compute capability 9.0."""
        from .aot import compile_configuration

        return [asdict(record) for record in compile_configuration(values, spec, dtype)]

    def gemm_work(
        self, values: Mapping[str, Value], counts: NDArray[np.int64], spec: LayerSpec, dtype: str
    ) -> list[GemmWork]:
        """See `Tunable.gemm_work`."""
        return self._parse(values, spec, dtype).works(counts, spec, dtype)

    def prepare_values(
        self,
        values: Mapping[str, Value],
        spec: LayerSpec,
        weights: ExpertWeights,
        device: torch.device | str,
        dtype: torch.dtype,
    ) -> Layer:
        """See `Tunable.prepare_values`."""
        from ..common import dtype_name

        return self.prepare(spec, weights, device, dtype, self._parse(values, spec, dtype_name(dtype)))

    def compilations(
        self, spec: LayerSpec, dtype: str, tokens: Sequence[int], target: Target
    ) -> list[TritonCompilation]:
        """See `ahead.Ahead`."""
        from ...dispatch.aot import for_target
        from .signatures import launched

        found = self._choices(spec, dtype, target.gpu).launched(tokens)
        return for_target((kernel for one in found for kernel in launched(one, spec, dtype)), target)

    @property
    def _left_out(self) -> Mapping[str, int]:
        return VERSIONS.get(self.version, {})

    def _parse(self, values: Mapping[str, Value], spec: LayerSpec, dtype: str) -> Configuration:
        """The configuration of flat values. Raises ValueError for one that breaks a rule or that the version lacks."""
        configuration = from_values(values, spec, dtype)
        for gemm, tile in zip(GEMMS, (configuration.fc1, configuration.fc2), strict=True):
            for field, value in self._left_out.items():
                if getattr(tile, field) != value:
                    got = getattr(tile, field)
                    raise ValueError(f"{gemm}_{field}: expected {value} for version {self.version}, got {got}")
        return configuration

    def _choices(
        self, spec: LayerSpec, dtype: str, gpu: str, fixed: Configuration | None = None
    ) -> Choices[Configuration]:
        return choices(
            self.name,
            gpu,
            spec,
            dtype,
            built_in=lambda rows: choose(rows, spec, dtype).held_to(self.version),
            offered=tuple(one.held_to(self.version) for one in offered(spec, dtype)),
            parse=lambda values: self._parse(values, spec, dtype),
            fixed=fixed and fixed.for_layer(spec, dtype),
        )


IMPLEMENTATION = TritonImplementation()
