"""What a kernel on the CUDA cores can reach at most: the yardstick for `numba`, which uses no tensor cores.

Every lane of a multiprocessor starts one float32 multiply-add a cycle, whatever the storage type (CUDA C++ Programming
Guide, section "Arithmetic Instructions", throughput of native arithmetic instructions by compute capability).
"""

from __future__ import annotations

# Float32 lanes of a multiprocessor by compute capability.
LANES = {
    (7, 0): 64, (7, 5): 64, (8, 0): 64, (8, 6): 128, (8, 7): 128, (8, 9): 128, (9, 0): 128, (10, 0): 128, (10, 3): 128,
    (12, 0): 128, (12, 1): 128,
}  # fmt: skip


def cuda_core_tflops(multiprocessors: int, sm_mhz: float, capability: tuple[int, int] = (9, 0)) -> float:
    """The float32 rate of the CUDA cores in 1e12 FLOP/s at the clock held: multiprocessors × lanes × 2 × clock.

    sm_mhz: the SM clock while the kernel ran, not the highest the device has. Raises ValueError for a capability whose
    lanes are not known and for numbers that are none of a device.

    >>> round(cuda_core_tflops(132, 1980.0), 1)  # an H200 at its highest clock
    66.9
    """
    if capability not in LANES:
        known = ", ".join(f"{major}.{minor}" for major, minor in LANES)
        raise ValueError(f"capability: expected one of {known}, got {'.'.join(map(str, capability))}")
    for name, value in (("multiprocessors", multiprocessors), ("sm_mhz", sm_mhz)):
        if not value > 0:
            raise ValueError(f"{name}: expected more than 0, got {value}")
    return multiprocessors * LANES[capability] * 2 * sm_mhz * 1e-6


def share_of_cuda_cores(
    tflops: float, multiprocessors: int, sm_mhz: float, capability: tuple[int, int] = (9, 0)
) -> float:
    """The share of that rate which `tflops` (useful FLOPs, in 1e12 a second) is. Raises ValueError likewise."""
    return tflops / cuda_core_tflops(multiprocessors, sm_mhz, capability)
