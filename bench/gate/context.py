"""Whether a device still answers: an error in one kernel can break its CUDA context for everything that follows."""

from __future__ import annotations

import torch


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
