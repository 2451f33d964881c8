"""Questions kept in files: posed once for a case, whoever asks, and read by every process that asks again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock

from ... import reference
from ...dispatch.cache import content_key
from ...kernels.compiled import sources_of
from ...reference import ExpertWeights, LayerSpec, Routing
from .expected import REFERENCE_FLOPS
from .question import Question, mirrored, pose


@dataclass(frozen=True)
class KeptQuestions:
    """A folder of questions about layers with random weights, each in a file named by all that decides its answer.

    The first process that asks poses it, with fresh numbers; others wait for it and map its file into memory. A file
    appears whole or not at all, and the lock of a killed process is free again. One that cannot be read is posed anew.
    """

    folder: Path

    def pose(
        self,
        spec: LayerSpec,
        weights: ExpertWeights,
        routing: Routing,
        dtype: torch.dtype,
        *,
        weights_seed: int,
        reference_flops: float = REFERENCE_FLOPS,
    ) -> Question:
        """`question.pose`, once. weights: ExpertWeights.random(spec, weights_seed). Raises ValueError as `pose` does,
        and OSError where the folder cannot be written.
        """
        facts = [spec.to_dict(), weights_seed, weights.shared is not None, str(dtype), reference_flops]
        arrays = [np.ascontiguousarray(array) for array in (routing.expert_ids, routing.weights)]
        described = [json.dumps([*facts, *(f"{array.dtype}{array.shape}" for array in arrays)], sort_keys=True)]
        name = content_key([*_versions(), *described, *(array.tobytes() for array in arrays)])
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{name}.pt"
        with FileLock(path.with_suffix(".lock")):
            kept = _read(path, spec)
            if kept is not None:
                return kept
            question = pose(spec, weights, routing, dtype, reference_flops=reference_flops)
            _write(path, question)
        return _read(path, spec) or question


def _write(path: Path, question: Question) -> None:
    arrays = {"expert_ids": question.routing.expert_ids, "weights": question.routing.weights}
    if question.tokens is not None:
        arrays["tokens"] = question.tokens
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    tensors |= {name: getattr(question, name) for name in ("x", "expected", "earlier_x")}
    scratch = path.with_suffix(".part")  # the lock's holder alone writes it
    torch.save({**tensors, "seed": question.seed, "shared": question.shared}, scratch)
    scratch.replace(path)


def _read(path: Path, spec: LayerSpec) -> Question | None:
    """The question of a file, its tensors mapped and private to this process; None where there is none to be read."""
    try:
        table = torch.load(path, mmap=True, weights_only=True)
        routing = Routing(table["expert_ids"].numpy(), table["weights"].numpy())
        tokens = table["tokens"].numpy() if "tokens" in table else None
        named = {name: table[name] for name in ("x", "expected", "earlier_x", "seed", "shared")}
    except FileNotFoundError:
        return None
    except Exception:  # whatever torch makes of a damaged file
        return None
    return Question(spec=spec, routing=routing, tokens=tokens, earlier_routing=mirrored(routing, spec), **named)


@cache
def _versions() -> tuple[str | bytes, ...]:
    """What the numbers are made with: the libraries, the reference, and this gate."""
    versions = f"numpy {np.__version__}, torch {torch.__version__}"
    return versions, *sources_of(Path(str(reference.__file__)).parent, Path(__file__).parent)
