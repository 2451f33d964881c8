"""The public functions: check the arguments, move NumPy through torch without a copy, ask a backend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch

from ..reference import LayerSpec, Routing, check_routing
from .backends import choose_backend
from .plan import DispatchPlan, ListRequest, TileSchedule

_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def make_plan(
    routing: Routing, spec: LayerSpec, backend: str | None = None, validate: bool | None = None
) -> DispatchPlan:
    """Turn a routing into memory order: rows sorted by expert, then token, then slot.

    routing.expert_ids integer[T, K] and routing.weights float[T, K], both NumPy (gives a NumPy plan) or both torch on
    one device (gives a plan there). `backend` is a name in BACKENDS; by default torch on the CPU and Triton on a GPU.

    Raises ValueError for shapes and dtypes that do not fit, ids out of range or repeated within a token and weights
    that are not finite. On a GPU only shapes and dtypes are checked, because looking at values would make the host
    wait for the device; `validate=True` looks all the same, `validate=False` never does.
    """
    as_numpy = not isinstance(routing.expert_ids, torch.Tensor) and not isinstance(routing.weights, torch.Tensor)
    if as_numpy:
        if validate is not False:
            check_routing(routing, spec)
        expert_ids, weights = _tensor(_narrow(routing.expert_ids)), _tensor(np.asarray(routing.weights))
    else:
        expert_ids, weights = routing.expert_ids, routing.weights
    _check_tensors(expert_ids, weights, spec)
    if not as_numpy and (validate if validate is not None else expert_ids.device.type == "cpu"):
        check_routing(Routing(expert_ids.cpu().numpy(), weights.detach().to("cpu", torch.float64).numpy()), spec)
    chosen = choose_backend(backend, expert_ids.device)
    plan = chosen.make_plan(expert_ids.contiguous(), weights.detach().contiguous(), spec.experts)
    return _numpy_fields(plan) if as_numpy else plan


def on_device(routing: Routing, device: torch.device | str) -> Routing:
    """A routing of NumPy arrays or torch tensors as tensors on `device`: ids int64[T, K], weights float32[T, K]."""
    ids, weights = (
        value if isinstance(value, torch.Tensor) else torch.from_numpy(np.array(value))
        for value in (routing.expert_ids, routing.weights)
    )
    return Routing(ids.to(device, torch.int64), weights.to(device, torch.float32))


def permute(x: Any, plan: DispatchPlan, backend: str | None = None) -> Any:
    """Gather rows into expert order: x [T, H] to rows [R, H], rows[r] = x[plan.row_token[r]], same dtype and device.

    x and the plan are both NumPy or both torch. Raises ValueError for a shape, kind or device that does not fit.
    """
    return _move("permute", "x", x, plan, plan.tokens, backend)


def combine(rows: Any, plan: DispatchPlan, backend: str | None = None) -> Any:
    """Weighted sum back into token order: rows [R, H] to y [T, H], same dtype and device.

    y_t = sum over k of plan.row_weight[r] * rows[r] with r = plan.token_row[t, k], k = 0 first, accumulated in float32
    (float64 for float64 rows): deterministic. Raises ValueError for a shape, kind or device that does not fit.
    """
    return _move("combine", "rows", rows, plan, plan.rows, backend)


def make_schedules(
    plan: DispatchPlan, order: Any, requests: Sequence[ListRequest], backend: str | None = None
) -> tuple[TileSchedule, ...]:
    """The work lists of grouped GEMMs over the same rows, one for each of `requests`; see `TileSchedule`.

    order: int[E]  the experts in the order their tiles are listed, each once

    Two lists cost a GPU one launch with Triton and CUDA C++. `order` and the columns of a request may be lists, NumPy
    or torch; what is not on the plan's device as int32 is moved there, so hand over device tensors inside a timed or
    captured region. Values are checked where they are on the host. Raises ValueError.
    """
    as_numpy = not isinstance(plan.expert_offsets, torch.Tensor)
    device = torch.device("cpu") if as_numpy else plan.expert_offsets.device
    host_order = _host_vector("order", order, plan.experts)
    if host_order is not None and not np.array_equal(np.sort(host_order), np.arange(plan.experts)):
        raise ValueError(f"order: expected every expert from 0 to {plan.experts - 1} once, got {host_order.tolist()}")
    order = _as_int32(order if host_order is None else host_order, device)
    checked = [_checked(request, plan.experts, device) for request in requests]
    torch_plan = _torch_fields(plan) if as_numpy else plan
    schedules = choose_backend(backend, device).make_schedules(torch_plan, order, checked)
    return tuple(map(_numpy_fields, schedules)) if as_numpy else schedules


def make_schedule(
    plan: DispatchPlan,
    block_rows: int,
    columns: Any,
    order: Any,
    most_columns: int | None = None,
    band: int = 8,
    backend: str | None = None,
) -> TileSchedule:
    """One work list: `make_schedules` for a single `ListRequest`, of which these are the fields.

    most_columns may be left out where `columns` is on the host. Raises ValueError.
    """
    if most_columns is None:
        host_columns = _host_vector("columns", columns, plan.experts)
        if host_columns is None:
            raise ValueError("most_columns: expected a number because columns is on the GPU, got None")
        most_columns = max(0, int(host_columns.max()))
    return make_schedules(plan, order, [ListRequest(block_rows, columns, most_columns, band)], backend)[0]


def _move(verb: str, name: str, values: Any, plan: DispatchPlan, expected: int, backend: str | None) -> Any:
    as_numpy = not isinstance(values, torch.Tensor)
    if as_numpy == isinstance(plan.row_token, torch.Tensor):
        kinds = ("NumPy", "torch") if as_numpy else ("torch", "NumPy")
        raise ValueError(f"{name}: expected a {kinds[1]} array like the plan, got {kinds[0]}")
    if as_numpy:
        values, plan = _tensor(np.asarray(values)), _torch_fields(plan)
    if values.ndim != 2 or values.shape[0] != expected:
        raise ValueError(f"{name}: expected shape [{expected}, hidden], got {list(values.shape)}")
    if not values.is_floating_point():
        raise ValueError(f"{name}: expected floating-point numbers, got {values.dtype}")
    if values.device != plan.row_token.device:
        raise ValueError(f"{name}: expected to be on {plan.row_token.device} like the plan, got {values.device}")
    moved = getattr(choose_backend(backend, values.device), verb)(values.detach().contiguous(), plan)
    return moved.numpy() if as_numpy else moved


def _check_tensors(expert_ids: Any, weights: Any, spec: LayerSpec) -> None:
    for name, value in (("expert_ids", expert_ids), ("weights", weights)):
        if not isinstance(value, torch.Tensor):
            raise ValueError(
                f"{name}: expected a torch tensor like the rest of the routing, got {type(value).__name__}"
            )
    if expert_ids.ndim != 2 or expert_ids.shape[1] != spec.top_k:
        raise ValueError(f"expert_ids: expected shape [tokens, {spec.top_k}], got {list(expert_ids.shape)}")
    if expert_ids.dtype not in _INTEGERS:
        raise ValueError(f"expert_ids: expected whole numbers of up to 64 bits, got {expert_ids.dtype}")
    if expert_ids.numel() >= 2**31:
        raise ValueError(f"routing: expected fewer than 2**31 rows (tokens x experts each), got {expert_ids.numel()}")
    if weights.shape != expert_ids.shape:
        raise ValueError(f"weights: expected shape {list(expert_ids.shape)}, got {list(weights.shape)}")
    if not weights.is_floating_point():
        raise ValueError(f"weights: expected floating-point numbers, got {weights.dtype}")
    if weights.device != expert_ids.device:
        raise ValueError(f"weights: expected to be on {expert_ids.device} like expert_ids, got {weights.device}")


def _narrow(expert_ids: Any) -> np.ndarray:
    """Unsigned NumPy ids as int32, which fits any id: torch knows few unsigned types."""
    expert_ids = np.asarray(expert_ids)
    return expert_ids.astype(np.int32) if expert_ids.dtype.kind == "u" else expert_ids


def _tensor(array: np.ndarray) -> torch.Tensor:
    """The same memory as a CPU tensor; a copy where torch cannot share it (read-only, reversed, foreign byte order)."""
    native = array.dtype.isnative and all(stride >= 0 for stride in array.strides)
    return torch.from_numpy(
        array if array.flags.writeable and native else np.array(array, array.dtype.newbyteorder("="))
    )


def _host_vector(name: str, value: Sequence[int] | np.ndarray | torch.Tensor, experts: int) -> np.ndarray | None:
    """`value` as a NumPy vector, or None where it is on a GPU. Raises ValueError unless it is integer[E]."""
    if isinstance(value, torch.Tensor) and value.device.type != "cpu":
        integer, host = value.dtype in _INTEGERS, None
    else:
        value = host = np.asarray(value)
        integer = np.issubdtype(host.dtype, np.integer)
    if tuple(value.shape) != (experts,) or not integer:
        found = f"shape {list(value.shape)} of {value.dtype}"
        raise ValueError(f"{name}: expected {experts} whole numbers, one per expert, got {found}")
    return host


def _checked(request: ListRequest, experts: int, device: torch.device) -> ListRequest:
    """The request with its columns as int32[E] on `device`. Raises ValueError."""
    for name, least in (("block_rows", 1), ("band", 1), ("most_columns", 0)):
        if getattr(request, name) < least:
            raise ValueError(f"{name}: expected at least {least}, got {getattr(request, name)}")
    host = _host_vector("columns", request.columns, experts)
    if host is not None and (host.min() < 0 or host.max() > request.most_columns):
        raise ValueError(f"columns: expected 0 to {request.most_columns}, got {host.tolist()}")
    return replace(request, columns=_as_int32(request.columns if host is None else host, device))


def _as_int32(value: np.ndarray | torch.Tensor, device: torch.device) -> torch.Tensor:
    tensor = value if isinstance(value, torch.Tensor) else torch.from_numpy(value.astype(np.int32))
    return tensor.to(device=device, dtype=torch.int32).contiguous()


def _torch_fields(plan: DispatchPlan) -> DispatchPlan:
    return DispatchPlan(**{field.name: _tensor(getattr(plan, field.name)) for field in fields(plan)})


def _numpy_fields(value: Any) -> Any:
    arrays = {field.name: getattr(value, field.name) for field in fields(value)}
    return type(value)(**{k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in arrays.items()})
