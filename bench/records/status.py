"""How a measured case ended."""

from __future__ import annotations

from enum import StrEnum


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
