"""Per-token traces of other projects: Megatron-LM's router trace and ExFlow's array."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .recorded import TokensFile
from .source import ALL, Source

TRACE_FILES = "router_trace_rank*.jsonl"
_STATED = ("step", "layer", "top_indices")
# What one record of a trace is for: (rank, step) and its layer.
Pass = tuple[int, int]


def read_megatron(source: Source) -> TokensFile:
    """Megatron-LM's router trace: JSON lines, one for each (step, layer) of a rank.

        {"step": 0, "stage": "pre_dispatch", "block": "decoder", "layer": 3, "rank": 0, "num_tokens": 2, "topk": 2,
         "top_indices": [[12, 45], [7, 3]]}

    Accepted: one such file, or a folder whose files router_trace_rank*.jsonl are read together. step, layer and
    top_indices must be there; rank is 0 and block "decoder" where missing; num_tokens and topk are checked where
    given; other keys stand unread. Records of other blocks ("mtp": their layer numbers repeat the decoder's) are left
    out. Every (rank, step) is one sample and must have the same layers with the same tokens everywhere; tokens of
    different ranks count as different tokens. Megatron writes the experts of a token in the order of their numbers,
    not of their scores, and does not say E.

    Source: github.com/NVIDIA/Megatron-LM, megatron/core/transformer/moe/router_trace.py (`RouterTracer`); written with
    --moe-routing-trace-path. Raises ValueError with the line at fault.
    """
    paths = sorted(source.path.glob(TRACE_FILES)) if source.path.is_dir() else [source.path]
    if not paths:
        raise ValueError(f"{source.path}: expected files {TRACE_FILES}, got none")
    passes: dict[Pass, dict[int, NDArray[np.int64]]] = {}
    left_out = 0
    for path in paths:
        for number, line in enumerate(Source(path).text().splitlines(), start=1):
            if line.strip():
                left_out += _take(line, f"{path}: line {number}", passes)
    if not passes:
        raise ValueError(f"{source.path}: expected at least one record of block 'decoder', got none")
    layers = tuple(sorted(next(iter(passes.values()))))
    samples = [_sample(source.path, at, of_layer, layers) for at, of_layer in passes.items()]
    if len({sample.shape[2] for sample in samples}) > 1:
        raise ValueError(f"{source.path}: expected the same number of experts a token in every step")
    origin = f"Megatron-LM router trace, {len(samples)} steps of {len({rank for rank, _ in passes})} ranks"
    if left_out:
        origin += f"; {left_out} records of other blocks left out"
    return _tokens(source, samples, layers, origin)


def read_exflow(source: Source) -> TokensFile:
    """ExFlow's trace: a .npy array of whole numbers [tokens, layers], the expert of each token at each layer (top 1).

    Also accepted: [tokens, layers, K], the same for top K, as vLLM and SGLang return `routed_experts`. Ids begin at 0
    in every layer, layers are numbered from 0. E is not in the file.

    Source: github.com/YJHMITWEB/ExFlow, README ("Get the expert routing trace log") and solve_affinity.py. Raises
    ValueError.
    """
    ids = source.value
    if not isinstance(ids, np.ndarray) or ids.dtype.kind not in "iu" or ids.ndim not in (2, 3) or not ids.size:
        got = f"{ids.dtype} {list(ids.shape)}" if isinstance(ids, np.ndarray) else type(ids).__name__
        raise ValueError(f"{source.path}: expected whole numbers [tokens, layers] or [tokens, layers, K], got {got}")
    ids = ids[:, :, None] if ids.ndim == 2 else ids
    return _tokens(source, [ids], tuple(range(ids.shape[1])), "ExFlow trace")


def _tokens(source: Source, samples: list[NDArray[Any]], layers: tuple[int, ...], origin: str) -> TokensFile:
    """Samples [tokens, layers, K] of one domain, with E as the reader knows it or as the ids need it."""
    ids = np.concatenate(samples)
    if not len(ids):
        raise ValueError(f"{source.path}: expected at least one token, got none")
    experts = source.experts if source.experts is not None else int(ids.max()) + 1
    bad = ((ids < 0) | (ids >= experts)).any(axis=2)
    if bad.any():
        token, layer = (int(at) for at in np.unravel_index(int(np.argmax(bad)), bad.shape))
        raise ValueError(
            f"{source.path}: token {token}, layer {layers[layer]}: expected expert ids from 0 to {experts - 1}, "
            f"got {ids[token, layer].tolist()}"
        )
    ends = np.cumsum([0, *(len(sample) for sample in samples)], dtype=np.int64)
    stated = source.experts is not None
    return TokensFile(str(source.path), ids, ends, (ALL,) * len(samples), layers, experts, stated, origin)


def _take(line: str, where: str, passes: dict[Pass, dict[int, NDArray[np.int64]]]) -> int:
    """Add one record to its (rank, step); returns 1 where it belongs to another block than the decoder."""
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}, column {error.colno}: {error.msg}") from error
    missing = [name for name in _STATED if not isinstance(record, dict) or name not in record]
    if missing:
        raise ValueError(f"{where}: expected an object with {', '.join(_STATED)}; missing {', '.join(missing)}")
    if record.get("block", "decoder") != "decoder":
        return 1
    rank, step, layer = (_whole(record.get(name, 0), f"{where}: {name}") for name in ("rank", "step", "layer"))
    ids = _indices(record, where)
    of_layer = passes.setdefault((rank, step), {})
    if layer in of_layer:
        raise ValueError(f"{where}: rank {rank}, step {step}, layer {layer} was told before")
    of_layer[layer] = ids
    return 0


def _indices(record: dict[str, Any], where: str) -> NDArray[np.int64]:
    """top_indices as int64[tokens, K]; a step without tokens has K from `topk`."""
    top_k = record.get("topk")
    value = record["top_indices"]
    if value == []:
        ids = np.empty((0, _whole(top_k, f"{where}: topk")), dtype=np.int64)
    else:
        ids = Source(Path(where)).numbers(value, "top_indices", "token, k")
        if ids.dtype.kind != "i":
            raise ValueError(f"{where}: top_indices: expected whole numbers, got {ids.dtype}")
    for name, told, got in (("num_tokens", record.get("num_tokens"), len(ids)), ("topk", top_k, ids.shape[1])):
        if told is not None and told != got:
            raise ValueError(f"{where}: {name}: expected {got} as top_indices has, got {told}")
    return ids.astype(np.int64)


def _sample(path: Path, at: Pass, of_layer: dict[int, NDArray[Any]], layers: tuple[int, ...]) -> NDArray[Any]:
    """One (rank, step) as [tokens, layers, K]. Raises ValueError."""
    where = f"{path}: rank {at[0]}, step {at[1]}"
    if tuple(sorted(of_layer)) != layers:
        odd = sorted(set(layers) ^ set(of_layer))
        raise ValueError(f"{where}: expected the layers of every other step, got a difference in {odd}")
    shapes = {layer: ids.shape for layer, ids in of_layer.items()}
    for layer in layers:
        if shapes[layer] != shapes[layers[0]]:
            expected, got = list(shapes[layers[0]]), list(shapes[layer])
            raise ValueError(
                f"{where}: layer {layer}: expected tokens and experts {expected} as in layer {layers[0]}, got {got}"
            )
    return np.stack([of_layer[layer] for layer in layers], axis=1)


def _whole(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{where}: expected a whole number of at least 0, got {value!r}")
    return value
