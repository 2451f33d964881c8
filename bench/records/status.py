"""How a measured case ended."""

from __future__ import annotations

from enum import StrEnum

# How torch on a CPU, the CUDA driver and runtime, and cuBLAS say it, in lower case.
_OUT_OF_MEMORY = ("allocate memory", "out of memory", "out_of_memory", "cublas_status_alloc_failed")


class Status(StrEnum):
    """The `status` of a record; timing exists only under PASSED. The values are what run files contain.

    UNSUPPORTED is an implementation's own word before it starts; NOT_RUN is a case that was never
    reached, or a kernel that was compiled and inspected only.
    """

    PASSED = "passed"
    INCORRECT = "incorrect"
    UNSUPPORTED = "unsupported"
    OUT_OF_MEMORY = "out_of_memory"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    NOT_RUN = "not_run"


def status_of(error: Exception) -> tuple[Status, str]:
    """What an exception from an implementation means for its record: OUT_OF_MEMORY or CRASHED, and one line."""
    text = str(error).strip()
    line = f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
    # By its name, as torch and CuPy have one each.
    memory = isinstance(error, MemoryError) or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__)
    if memory or any(words in text.lower() for words in _OUT_OF_MEMORY):
        return Status.OUT_OF_MEMORY, line
    return Status.CRASHED, line
