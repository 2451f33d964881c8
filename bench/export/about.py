"""What a slice says of the record it belongs to, when it is clicked."""

from __future__ import annotations

from typing import Any

from ..records import Record
from ..records.codec import plain

_TELEMETRY = (
    *("source", "window_s", "samples", "calls", "utilization", "sm", "tensor", "dram", "power_w", "energy_j"),
    *("joule_per_token", "tflop_per_joule", "sm_mhz", "temperature_c", "energy_source", "notes"),
)


def about_record(record: Record) -> dict[str, Any]:
    """The record in names and numbers; what it does not have is left out."""
    case, hot, seen = record.case, record.hot, record.telemetry
    about: dict[str, Any] = {
        "implementation": record.implementation,
        "provenance": str(record.provenance),
        "status": str(record.status),
        "reason": record.reason,
        "case": case.id,
        **{name: getattr(case, name) for name in ("spec", "tokens", "routing", "dtype", "device")},
        "hot_median_us": hot.median_us if hot else None,
        "hot_low_us": hot.low_us if hot else None,
        "hot_high_us": hot.high_us if hot else None,
        "useful_tflops": record.tflops,
        "share_of_roof": record.share_of_roof,
        "times_as_fast_as_padded_bmm": record.speedup.ratio if record.speedup else None,
    }
    about |= {f"telemetry_{name}": getattr(seen, name) for name in _TELEMETRY} if seen else {}
    return {name: value for name, value in plain(about).items() if value not in (None, "", [])}
