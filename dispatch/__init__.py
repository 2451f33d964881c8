"""Routing to memory order: the dispatch plan, permute, combine and the tile schedule, on several backends.

NumPy arrays and torch tensors go in, the same kind comes out, on the device they came on. Every backend gives
bit-identical integers. Nothing here imports CUDA, Triton, CuPy or Numba until a backend is asked for.
"""

from .api import combine, make_plan, make_schedule, make_schedules, on_device, permute
from .backends import BACKENDS, load_backend, unavailable
from .interface import Backend
from .plan import DispatchPlan, ListRequest, TileSchedule, row_block_bound, schedule_bound

__all__ = [
    "BACKENDS",
    "Backend",
    "DispatchPlan",
    "ListRequest",
    "TileSchedule",
    "combine",
    "load_backend",
    "make_plan",
    "make_schedule",
    "make_schedules",
    "on_device",
    "permute",
    "row_block_bound",
    "schedule_bound",
    "unavailable",
]
