"""The two-level router in torch, on the device of its input: what stands before the dispatch plan in a served layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...reference import LayerSpec, Router, Routing

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class DeviceRouter:
    """`reference.route` with combine "released" in float32 (float64 for float64 inputs); nothing waits for the device.

    both: [G + E, H], the group matrix above the expert matrix, so that one GEMM gives all logits
    """

    spec: LayerSpec
    both: torch.Tensor

    @classmethod
    def on(cls, router: Router, spec: LayerSpec, device: torch.device | str) -> DeviceRouter:
        """The router's matrices on `device`."""
        import torch

        matrices = [torch.as_tensor(matrix, dtype=torch.float64) for matrix in (router.group, router.expert)]
        return cls(spec, torch.cat(matrices).to(device, torch.float32))

    def __call__(self, x: torch.Tensor) -> Routing:
        """Route x [T, H]: int64[T, K] ids and weights [T, K], best expert first, ties to the lower id.

        The formula is that of `reference.route`, DESIGN.md section 3; in lower precision near-ties may fall otherwise.
        """
        import torch

        spec = self.spec
        wide = torch.promote_types(x.dtype, torch.float32)
        logits = x.to(wide) @ self.both.to(wide).t()
        scores, expert_logits = logits[:, : spec.groups], logits[:, spec.groups :]
        # Stable sorts and not topk: on ties topk gives any of the equals.
        best, groups = (part[:, : spec.top_groups] for part in scores.sort(dim=1, descending=True, stable=True))
        share = torch.nn.functional.logsigmoid(best).softmax(dim=1)
        p = torch.zeros_like(scores).scatter_(1, groups, share)
        kept = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, groups, True)
        q = expert_logits.view(-1, spec.groups, spec.experts_per_group).softmax(dim=2)
        joint = (p[:, :, None] * q).flatten(1)
        joint = joint / joint.sum(dim=1, keepdim=True)
        # Experts outside the kept groups rank below every kept one, also where a kept probability underflows to zero.
        ranked = joint.masked_fill(~kept.repeat_interleave(spec.experts_per_group, dim=1), -1.0)
        top, expert_ids = (part[:, : spec.top_k] for part in ranked.sort(dim=1, descending=True, stable=True))
        return Routing(expert_ids.contiguous(), top.softmax(dim=1).to(torch.float32))
