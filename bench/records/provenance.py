"""Where a figure comes from."""

from __future__ import annotations

from enum import StrEnum


class Provenance(StrEnum):
    """Where a figure comes from; drawn and labelled accordingly, never as measured when it is not."""

    MEASURED = "measured"
    SIMULATED = "simulated"
    INTERPRETED = "interpreted"
    COMPILED = "compiled"
    PREDICTED = "predicted"
