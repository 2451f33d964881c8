"""The argument types under which a layer launches its kernels, for compiling them ahead of time. Imports Triton."""

from __future__ import annotations

from typing import Any

from ...dispatch import triton_rows, triton_schedule
from ...dispatch.aot import AotKernel
from ...reference import LayerSpec
from .config import KERNELS, Configuration
from .down import down_kernel
from .gate_up import activate_kernel, gate_up_kernel
from .tile import Tile

DTYPES = {"bfloat16": "*bf16", "float16": "*fp16", "float32": "*fp32"}
_TILE_LIST = dict.fromkeys(("tile_expert_ptr", "tile_row_ptr", "tile_column_ptr", "tile_count_ptr"), "*i32")


def gemms(configuration: Configuration, spec: LayerSpec, dtype: str) -> tuple[AotKernel, AotKernel]:
    """Fc1 and fc2 as a layer of this spec launches them."""
    return _gate_up(configuration.fc1, spec, dtype), _down(configuration.fc2, spec, dtype)


def launched(configuration: Configuration, spec: LayerSpec, dtype: str) -> list[AotKernel]:
    """Everything a layer of this spec launches in a call with a configuration, after the dispatch plan."""
    fc1, fc2 = configuration.fc1, configuration.fc2
    lists = triton_schedule.launched(spec.experts, (fc1.block_m, fc1.band), (fc2.block_m, fc2.band))
    adding = [activate(fc1, dtype)] if fc1.split_k > 1 else []
    element = DTYPES[dtype].removeprefix("*")
    combine = triton_rows.launched_combine(spec.top_k, spec.hidden, element, fc2.split_k)
    return [*gemms(configuration, spec, dtype), *adding, lists, combine]


def _gemm(name: str, function: Any, tile: Tile, spec: LayerSpec, operands: dict[str, str]) -> AotKernel:
    """A GEMM's kernel with what both share: the lists, the sizes, the constants."""
    pointers = {**operands, "expert_offsets_ptr": "*i32", "width_offsets_ptr": "*i64", **_TILE_LIST}
    aligned = [argument for argument, kind in pointers.items() if kind.startswith("*") and kind != "*i32"]
    return AotKernel(
        name=name,
        function=function,
        signature={**pointers, "hidden": "i32", "stride_am": "i32", "rows": "i32"},
        constexprs=tile.constants(spec),
        num_warps=tile.num_warps,
        num_stages=tile.num_stages,
        divisible=(*aligned, "stride_am", *(("hidden",) if spec.hidden % 16 == 0 else ())),
    )


def _gate_up(tile: Tile, spec: LayerSpec, dtype: str) -> AotKernel:
    pointer = DTYPES[dtype]
    operands = {
        "x_ptr": pointer,
        "row_token_ptr": "*i32",
        "gate_up": _block(pointer, *tile.weight_block()) if tile.descriptors else pointer,
        "out_ptr": pointer if tile.split_k == 1 else "*fp32",
    }
    return _gemm(KERNELS[0], gate_up_kernel, tile, spec, operands)


def _down(tile: Tile, spec: LayerSpec, dtype: str) -> AotKernel:
    pointer = DTYPES[dtype]
    operands = {
        "activation": _block(pointer, tile.block_m, tile.block_k) if tile.descriptors == 2 else pointer,
        "down_t": _block(pointer, *tile.weight_block()) if tile.descriptors else pointer,
        "out_ptr": pointer if tile.split_k == 1 else "*fp32",
    }
    return _gemm(KERNELS[1], down_kernel, tile, spec, operands)


def _block(pointer: str, rows: int, columns: int) -> str:
    """The type of a descriptor of blocks."""
    return f"tensordesc<{pointer.removeprefix('*')}[{rows}, {columns}]>"


def activate(tile: Tile, dtype: str) -> AotKernel:
    """What adds the splits of an fc1 tile; two of them where it has none."""
    pointers = {"sums_ptr": "*fp32", "activation_ptr": DTYPES[dtype], "expert_offsets_ptr": "*i32"}
    signature = {**pointers, "width_offsets_ptr": "*i64", **_TILE_LIST, "stride_am": "i32", "rows": "i32"}
    constants = {"BLOCK_M": tile.block_m, "BLOCK_N": tile.block_n, "SPLIT_K": max(2, tile.split_k)}
    divisible = ("sums_ptr", "activation_ptr", "width_offsets_ptr", "stride_am")
    return AotKernel("activate", activate_kernel, signature, constants, divisible=divisible)


def dtype_of(kernel: AotKernel) -> str:
    """The dtype of the rows a kernel moves, "int32" for one that only makes indices (float32 weights beside them)."""
    moved = [kernel.signature[name] for name in ("x_ptr", "rows_ptr", "activation_ptr") if name in kernel.signature]
    return next((name for name, pointer in DTYPES.items() if pointer in moved), "int32")
