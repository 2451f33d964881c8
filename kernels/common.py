"""What every implementation checks at its public boundary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..dispatch import unavailable

if TYPE_CHECKING:
    from ..dispatch import DispatchPlan
    from ..reference import LayerSpec

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def dtype_name(dtype: torch.dtype) -> str:
    """The name used in reasons, on the command line and in run files: "float32", "float16", "bfloat16" and so on."""
    return str(dtype).removeprefix("torch.")


def gpu_name(device: torch.device | str | None = None) -> str:
    """The name of a GPU, by default the current one, as tables of tuned configurations have it; "cpu" for none."""
    device = torch.device(device) if device is not None else None
    if not torch.cuda.is_available() or (device is not None and device.type != "cuda"):
        return "cpu"
    return torch.cuda.get_device_name(device)


def check_call(x: torch.Tensor, plan: DispatchPlan, spec: LayerSpec, device: torch.device, dtype: torch.dtype) -> None:
    """Raise ValueError unless x is [T, H] of the prepared dtype on the prepared device and `plan` is one for it.

    Looks at shapes, dtypes and devices only, so it never waits for a GPU.
    """
    if not isinstance(x, torch.Tensor):
        raise ValueError(f"x: expected a torch tensor on {device}, got {_kind(x)}")
    if x.ndim != 2 or x.shape[1] != spec.hidden:
        raise ValueError(f"x: expected shape [tokens, {spec.hidden}], got {list(x.shape)}")
    if x.dtype != dtype:
        raise ValueError(f"x: expected {dtype_name(dtype)} as prepared, got {dtype_name(x.dtype)}")
    if not same_device(x.device, device):
        raise ValueError(f"x: expected device {device} as prepared, got {x.device}")
    if not x.is_contiguous():
        raise ValueError(f"x: expected a contiguous tensor, got strides {list(x.stride())}")
    if not isinstance(plan.row_token, torch.Tensor) or not same_device(plan.row_token.device, device):
        raise ValueError(f"plan: expected torch tensors on {device}, got {_kind(plan.row_token)}")
    if plan.experts != spec.experts:
        raise ValueError(f"plan: expected {spec.experts} experts, got {plan.experts}")
    if (plan.tokens, plan.top_k) != (x.shape[0], spec.top_k):
        raise ValueError(
            f"plan: expected {x.shape[0]} tokens with {spec.top_k} experts each, got {plan.tokens} with {plan.top_k}"
        )


def _kind(value: Any) -> str:
    """What was given, and where it lies: "numpy.ndarray on cpu"; NumPy arrays have a device too, of the same name."""
    kind = type(value)
    name = "torch.Tensor" if isinstance(value, torch.Tensor) else f"{kind.__module__.partition('.')[0]}.{kind.__name__}"
    return f"{name} on {getattr(value, 'device', 'the host')}"


def check_prepare(reason: str | None, name: str) -> None:
    """Raise ValueError with `supports`'s reason, if there is one."""
    if reason is not None:
        raise ValueError(f"{name}: {reason}")


def same_device(one: torch.device, other: torch.device) -> bool:
    """Whether two devices are the same one; "cuda" without an index means the current device."""

    def index(device: torch.device) -> int:
        if device.index is not None:
            return device.index
        return torch.cuda.current_device() if device.type == "cuda" else 0

    return one.type == other.type and index(one) == index(other)


def swiglu(gate_up: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
    """silu(gate) * up for gate_up [..., 2·W], gate columns then up columns, which it overwrites; result [..., W].

    Two passes of torch, both rounding to gate_up's dtype; `out` saves the allocation.
    """
    width = gate_up.shape[-1] // 2
    gate = torch.nn.functional.silu(gate_up[..., :width], inplace=True)
    return torch.mul(gate, gate_up[..., width:], out=out)


def useful_flops(counts: NDArray[np.int64], widths: NDArray[np.int64], hidden: int) -> int:
    """Σ n_e · 6 · H · W_e: what the mathematics needs for rows per expert counts int[E]; a multiply-add is two."""
    return 6 * hidden * int(np.dot(np.asarray(counts, dtype=np.int64), widths))


def width_runs(widths: NDArray[np.int64]) -> list[int]:
    """Where neighbouring experts of one width begin, then E: [0, 2, 6] for widths int[E] of [8, 8, 24, 24, 24, 24]."""
    return [0, *(int(expert) for expert in np.flatnonzero(np.diff(widths)) + 1), len(widths)]


def check_device(dtype: torch.dtype, device: torch.device) -> str | None:
    """None, or why no implementation can work with `dtype` on `device` in this process: the start of every supports."""
    if dtype not in DTYPES:
        return f"expected {', '.join(map(dtype_name, DTYPES))}, got {dtype_name(dtype)}"
    if device.type not in ("cpu", "cuda"):
        return f"expected a cpu or cuda device, got {device}"
    if device.type == "cuda" and not torch.cuda.is_available():
        return "torch sees no CUDA GPU in this process"
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        return f"there is no {device}: torch sees {torch.cuda.device_count()} GPU(s)"
    return None


def check_triton(dtype: torch.dtype, device: torch.device) -> str | None:
    """None, or why Triton kernels cannot run in this dtype on this device."""
    reason = check_device(dtype, device) or unavailable("triton", device)
    if reason is None and device.type == "cpu" and dtype == torch.bfloat16:
        return "Triton's interpreter computes bfloat16 dot products wrongly; use float16 or float32 on the CPU"
    return reason
