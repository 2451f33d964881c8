"""What is known of a configuration before it runs: the kernels' rules, and what its binaries say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...kernels.tunable import Tunable, Value
from ...reference import LayerSpec
from .outcome import Outcome
from .predict import MOST_SHARED_BYTES

KEPT = ("name", "registers", "spills", "shared_bytes", "tensor_instructions", "warpgroup_instructions", "error")


@dataclass(frozen=True)
class Verdict:
    """outcome: INVALID or PRUNED_STATIC with the reason, or None where nothing speaks against running it;
    resources: the compiled records, with the fields KEPT.
    """

    outcome: Outcome | None
    reason: str = ""
    resources: tuple[dict[str, Any], ...] = ()


def examine(
    tunable: Tunable,
    values: Mapping[str, Value],
    spec: LayerSpec,
    dtype: str,
    current: Sequence[Mapping[str, Any]] = (),
) -> Verdict:
    """Check the rules, then compile. `current`: the compiled records of the current configuration, in the same order.

    Pruned are: a kernel that does not compile, one that spills, one that asks for more shared memory than a block may
    have, and one without tensor-core instructions where the current configuration's has them.
    """
    rule = tunable.check_values(values, spec, dtype)
    if rule is not None:
        return Verdict(Outcome.INVALID, rule)
    try:
        records = [{name: entry.get(name) for name in KEPT} for entry in tunable.compile_values(values, spec, dtype)]
    except ValueError as error:
        return Verdict(Outcome.INVALID, str(error))
    reasons = [_broken(entry, current[index] if index < len(current) else {}) for index, entry in enumerate(records)]
    reason = "; ".join(filter(None, reasons))
    return Verdict(Outcome.PRUNED_STATIC if reason else None, reason, tuple(records))


def _broken(entry: Mapping[str, Any], current: Mapping[str, Any]) -> str:
    name = entry["name"]
    if entry["error"]:
        return f"{name} does not compile: {str(entry['error']).splitlines()[0]}"
    if entry["spills"]:
        return f"{name} spills {entry['spills']} bytes"
    if (entry["shared_bytes"] or 0) > MOST_SHARED_BYTES:
        return f"{name} asks for {entry['shared_bytes']} bytes of shared memory, a block may have {MOST_SHARED_BYTES}"
    if current.get("tensor_instructions") and not entry["tensor_instructions"]:
        return f"{name} has no tensor-core instructions"
    return ""
