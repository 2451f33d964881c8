"""Every shipped kernel compiled for Hopper without a GPU: no spills, within the chip's limits, on tensor cores."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from mohge.dispatch.cuda.compiler import cannot_compile, compile_cubin
from mohge.dispatch.cuda.resources import find_cuobjdump, inspect_cubin
from mohge.kernels.compiled import run_tool
from mohge.kernels.cupy.aot import DTYPES
from mohge.kernels.cupy.config import HOPPER, Config
from mohge.kernels.cupy.launch import FOLDER, defines
from mohge.kernels.cupy.limits import MOST_SHARED_BYTES
from mohge.kernels.cupy.shipped import SHIPPED

REGISTERS = 65536  # of one multiprocessor; so are the next two
SHARED_BYTES = 228 * 1024
RESERVED_SHARED_BYTES = 1024  # of every block

CASES = [
    pytest.param(version, config, dtype, id=f"{version}-{name.replace(' ', '-')}-{dtype}".replace("torch.", ""))
    for version, configs in SHIPPED.items()
    for name, config in configs.items()
    for dtype in DTYPES[version]
]

pytestmark = pytest.mark.skipif(
    cannot_compile() is not None or find_cuobjdump() is None, reason="needs the CUDA compiler's wheels and cuobjdump"
)


@pytest.mark.parametrize("config", SHIPPED["swapped"].values())
def test_swapped_operands_have_down_transposed_and_gate_up_not(config: Config) -> None:
    listing = run_tool("nvdisasm", "-c", str(_cubin("swapped", config, torch.bfloat16)))
    kernels = dict(zip(*[iter(re.split(r"\.section\s+\.text\.(\w+)", listing)[1:])] * 2, strict=True))
    for name, transposed in (("swapped_fc1", False), ("swapped_fc2", True)):
        products = re.findall(rf"HGMMA\.64x{config.block_m}x16\.F32\.BF16 .*", kernels[name])
        assert len(products) == kernels[name].count("HGMMA") > 0
        assert all((".tnspA" in product) == transposed and ".tnspB" not in product for product in products)


@pytest.mark.parametrize(("version", "config", "dtype"), CASES)
def test_compiles_for_hopper(version: str, config: Config, dtype: torch.dtype) -> None:
    kernels = inspect_cubin(_cubin(version, config, dtype))
    assert set(kernels) == {f"{version}_fc1", f"{version}_fc2"}
    for kernel in kernels.values():
        assert kernel.local_bytes == 0, kernel
        assert kernel.spill_accesses == 0, kernel
        assert kernel.registers * config.threads * config.blocks_per_sm <= REGISTERS, kernel
        assert kernel.shared_bytes == RESERVED_SHARED_BYTES, kernel
        assert (kernel.hmma > 0) == (version == "mma"), kernel
        assert (kernel.hgmma > 0) == (version in HOPPER), kernel
        assert 2 * kernel.hgmma_waits <= kernel.hgmma, kernel  # one wait a stage of four products at least
    assert config.shared_bytes <= MOST_SHARED_BYTES
    assert config.blocks_per_sm * (config.shared_bytes + RESERVED_SHARED_BYTES) <= SHARED_BYTES


def _cubin(version: str, config: Config, dtype: torch.dtype) -> Path:
    return compile_cubin(FOLDER / f"{version}.cu", defines(config, dtype), "sm_90a")
