"""What one block, and one multiprocessor of Hopper, can hold; and whether a configuration fits."""

from __future__ import annotations

WARP = 32
MOST_SHARED_BYTES = 227 * 1024  # what one block may ask for on compute capability 9.0
MOST_THREADS = 1024
# Of one multiprocessor; and what CUDA keeps for itself of every block's shared memory.
REGISTERS_PER_THREAD, REGISTERS_PER_SM, THREADS_PER_SM = 255, 65536, 2048
SHARED_PER_SM, SHARED_RESERVED = 228 * 1024, 1024


def check_fits(threads: int, shared: int, blocks: int, least_registers: int) -> None:
    """Raise ValueError unless `blocks` blocks fit on one multiprocessor of Hopper, as far as sizes alone say: so many
    threads and bytes of shared memory each, and registers a thread.
    """
    if shared > MOST_SHARED_BYTES:
        raise ValueError(f"expected at most {MOST_SHARED_BYTES} bytes of shared memory, got {shared}")
    if blocks * (shared + SHARED_RESERVED) > SHARED_PER_SM:
        raise ValueError(
            f"blocks_per_sm: expected {blocks} x {shared} bytes of shared memory within {SHARED_PER_SM} bytes"
        )
    if blocks * threads > THREADS_PER_SM:
        raise ValueError(f"blocks_per_sm: expected at most {THREADS_PER_SM} threads, got {blocks} x {threads}")
    allowed = min(REGISTERS_PER_THREAD, REGISTERS_PER_SM // (blocks * threads))
    if least_registers > allowed:
        raise ValueError(f"expected numbers for at most {allowed} registers a thread, got {least_registers}")


def defines_of(config: object, *names: str) -> dict[str, str]:
    """The compile-time constants of a configuration's fields: their names in capitals, and their values."""
    return {name.upper(): str(getattr(config, name)) for name in names}
