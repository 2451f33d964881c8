"""A device as the current one, and whether it still answers: an error in one kernel can break its CUDA context for
everything that follows.
"""

from __future__ import annotations

import torch


def make_current(device: torch.device) -> None:
    """Make a GPU the current one, on which kernels are launched; nothing for a CPU, and for "cuda", which is it."""
    if device.type == "cuda" and device.index is not None:  # without a number set_device raises
        torch.cuda.set_device(device)


def context_error(device: torch.device) -> str | None:
    """Why the CUDA context of this process is lost, in one line; None while it answers, and for a CPU."""
    if device.type != "cuda":
        return None
    try:
        torch.cuda.synchronize(device)
        torch.ones(1, device=device).sum().item()
    except Exception as error:  # whatever it is, nothing can be computed there any more
        return str(error).splitlines()[0]
    return None
