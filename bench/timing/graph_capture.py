"""A call as a CUDA graph, or the reason why it cannot be one; either way the process stays usable."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from .device_queue import DeviceQueue
from .timer import Call


def capture(call: Call, queue: DeviceQueue) -> tuple[Callable[[], Any] | None, str]:
    """The graph's replay and an empty text, or None and the reason in one line. The call has run before.

    Raises what the call raises while it is not captured, and whatever shows that the process did not survive.
    """
    cuda = queue.torch.cuda
    _warm_up(call, cuda)
    pool, graph, stream = cuda.graph_pool_handle(), cuda.CUDAGraph(), cuda.current_stream()
    try:
        # Where ending a capture fails, torch leaves its capturing stream the current one; the outer context does not.
        with cuda.stream(stream), cuda.graph(graph, pool=pool):
            call()
    except Exception as error:  # any library's: what cannot be captured is timed another way
        _clear(queue, pool)
        return None, _first_line(error)
    return graph.replay, ""


def _warm_up(call: Call, cuda: Any) -> None:
    """Two calls on a side stream, as capturing asks for: libraries make their workspaces for a stream at first use."""
    side = cuda.Stream()
    side.wait_stream(cuda.current_stream())
    with cuda.stream(side):
        for _ in range(2):
            call()
    cuda.current_stream().wait_stream(side)
    cuda.synchronize()


def _clear(queue: DeviceQueue, pool: Any) -> None:
    """Undo what a failed capture leaves behind, and see that the device and the allocator still answer.

    Up to torch 2.11 the allocator goes on serving the graph's pool as if the capture were under way (pytorch pull
    request 180395); later ones have ended that, and say so with a RuntimeError.
    """
    torch, index = queue.torch, queue.device.index
    end = getattr(torch._C, "_cuda_endAllocateToPool", None)
    if end is not None:
        with contextlib.suppress(RuntimeError):
            end(torch.cuda.current_device() if index is None else index, pool)
    torch.cuda.synchronize()
    torch.cuda.empty_cache()  # the allocator refuses while it believes in a capture


def _first_line(error: BaseException) -> str:
    """The exception that began it: ending a broken capture raises one of its own on top."""
    while error.__context__ is not None:
        error = error.__context__
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
