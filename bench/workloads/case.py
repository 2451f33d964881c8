"""A case: everything that decides what is computed, except by whom."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass

from ...reference import LayerSpec
from ..records import CaseRecord
from .workload import Inputs, Workload, checked_case

DTYPES = ("float32", "float16", "bfloat16")
DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class Case:
    """A layer on T tokens with a routing, in a dtype on a kind of device; the same case id means the same numbers.

    dtype: "float32", "float16" or "bfloat16";  device: "cpu" or "cuda". Raises ValueError.
    """

    spec: LayerSpec
    tokens: int
    workload: Workload
    dtype: str = "float32"
    device: str = "cpu"
    seed: int = 0
    step: int = 0

    def __post_init__(self) -> None:
        checked_case(self.tokens, self.seed, self.step)
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype: expected one of {', '.join(DTYPES)}, got {self.dtype!r}")
        if self.device not in DEVICES:
            raise ValueError(f"device: expected one of {', '.join(DEVICES)}, got {self.device!r}")

    @property
    def routing(self) -> str:
        """The workload's name, as records carry it."""
        return self.workload.name

    @property
    def case_id(self) -> str:
        """A readable and stable name of letters, digits, '.', '_' and '-', ending in eight digits of a hash.

        Two specs of one name but different shape, two seeds and two steps have different ids.
        """
        facts = [
            self.spec.to_dict(),
            int(self.tokens),
            self.routing,
            self.dtype,
            self.device,
            int(self.seed),
            int(self.step),
        ]
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]
        readable = f"{self.spec.name}-t{self.tokens}-{self.routing}-{self.dtype}-{self.device}"
        return f"{re.sub(r'[^A-Za-z0-9._-]+', '_', readable)}-{digest}"

    def inputs(self) -> Inputs:
        """Hidden states float32[T, H] and the routing (NumPy). Raises ValueError when the layer cannot have it."""
        return self.workload.inputs(self.spec, self.tokens, self.seed, self.step)

    def to_record(self) -> CaseRecord:
        """The case as a run file carries it."""
        return CaseRecord(
            spec=self.spec.name,
            tokens=int(self.tokens),
            routing=self.routing,
            dtype=self.dtype,
            device=self.device,
            id=self.case_id,
            seed=int(self.seed),
            step=int(self.step),
            layer=self.spec.to_dict(),
        )
