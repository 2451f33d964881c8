"""From a policy's name to a placement with what it costs every rank."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..reference import LayerSpec, expert_parameters
from .answer import Answer, Solution, copies_of, spread
from .bounds import lower_bound
from .policies import POLICIES, Policy
from .problem import Problem, checked_loads, make_problem

# What `allocate` takes whatever the policy is.
COMMON_OPTIONS = ("dtype_bytes", "replicas", "slots", "speeds", "memory_cap", "nodes", "costs")


@dataclass(frozen=True)
class Placement:
    """Which ranks hold which expert, and what that costs each rank. E experts, P ranks.

    policy:      the policy's name
    spec:        the layer's name
    ranks:       P
    replicas:    for each expert the ranks that hold it; one each where nothing was replicated
    shares:      for each expert the share of its rows that each of these takes; they add up to 1
    rows:        int64 or float64[P] rows routed to the rank's experts (int64 where the loads were whole numbers and
                 nothing is replicated)
    work:        float64[P]          useful FLOPs, n_e * 6 * H * W_e summed over the rank's experts
    parameters:  int64[P]            expert parameters resident on the rank
    memory:      int64[P]            bytes of these parameters
    bound:       proven lower bound on the largest work over speed of any placement that keeps the same limits: as many
                 experts a rank (floor(E/P) or ceil(E/P), unless `slots` said otherwise), as many replicas
    note:        what had to be bent to make the placement, or empty
    size_bound:  the same among placements that give every rank equally many experts of every width (within one), where
                 this is one of them; else None
    cost:        float64[P] the caller's `costs` on the rank, where they were given
    cost_bound:  proven lower bound on the largest cost over speed, like `bound` on work
    solution:    what a solver said, where one was asked
    problem:     what was asked
    """

    policy: str
    spec: str
    ranks: int
    replicas: tuple[tuple[int, ...], ...]
    shares: tuple[tuple[float, ...], ...]
    rows: NDArray[Any]
    work: NDArray[np.float64]
    parameters: NDArray[np.int64]
    memory: NDArray[np.int64]
    bound: float
    note: str = ""
    size_bound: float | None = None
    cost: NDArray[np.float64] | None = None
    cost_bound: float | None = None
    solution: Solution | None = None
    problem: Problem = field(repr=False, compare=False, kw_only=True)

    @property
    def rank_of(self) -> Any:
        """The rank of every expert, int64[E]; with replicas a list of ranks per expert, list[list[int]]."""
        if self.replicated:
            return [list(ranks) for ranks in self.replicas]
        return np.array([ranks[0] for ranks in self.replicas], dtype=np.int64)

    @property
    def replicated(self) -> bool:
        """Whether some expert has more than one copy."""
        return any(len(ranks) > 1 for ranks in self.replicas)

    @property
    def held(self) -> tuple[tuple[int, ...], ...]:
        """The experts on every rank, ascending."""
        return tuple(
            tuple(expert for expert, ranks in enumerate(self.replicas) if rank in ranks) for rank in range(self.ranks)
        )

    @property
    def straggler(self) -> int:
        """The rank with the most work over its speed, the lowest of equals."""
        return int(np.argmax(self.work / self.problem.speeds))

    @property
    def rows_max_over_mean(self) -> float:
        """Largest over mean rows of a rank: 1 is perfect balance."""
        return _max_over_mean(self.rows)

    @property
    def work_max_over_mean(self) -> float:
        """Largest over mean FLOPs of a rank."""
        return _max_over_mean(self.work)

    @property
    def memory_max_over_mean(self) -> float:
        """Largest over mean bytes of a rank."""
        return _max_over_mean(self.memory)

    @property
    def work_over_bound(self) -> float:
        """Largest FLOPs over speed of a rank over `bound`: 1.02 is at most 2 % above the best possible."""
        return float((self.work / self.problem.speeds).max()) / self.bound

    @property
    def work_over_size_bound(self) -> float | None:
        """The same over `size_bound`, where there is one."""
        return None if self.size_bound is None else float((self.work / self.problem.speeds).max()) / self.size_bound


def allocate(policy: str, spec: LayerSpec, loads: Any, ranks: int, **options: Any) -> Placement:
    """Place the experts of `spec` on `ranks` ranks under the policy called `policy`.

    loads: rows routed to every expert, int or float[E]. Options of every policy:

    dtype_bytes:  bytes per parameter, for the memory; 2
    replicas:     spare copies beyond one of each expert; no rank holds an expert twice
    slots:        copies a rank holds: "even" (within one of each other), "any", or one number per rank
    speeds:       how fast each rank is, float[P] or one number; policies that balance, balance time
    memory_cap:   bytes of expert weights a rank can hold, one number or float[P]
    nodes:        nodes the ranks lie on, P/nodes consecutive ones each; eplb keeps groups on one
    costs:        what to balance in place of FLOPs or rows, float[E], for example predicted seconds; they come to
                  `cost` and `cost_bound`, and `work` and `bound` stay FLOPs

    and what the policy takes besides (POLICIES). Raises ValueError for an unknown policy or option, loads of another
    length, negative, not finite or all zero, ranks below 1 or above the number of copies, and, naming the policy, for
    what this policy cannot do or a limit it could not keep.
    """
    chosen = find_policy(policy)
    takes = (*COMMON_OPTIONS, *chosen.options)
    for option in options:
        if option not in takes:
            raise ValueError(f"policy {policy!r}: unknown option {option!r}; it takes {', '.join(takes)}")
    problem = make_problem(spec, loads, ranks, **{name: options[name] for name in COMMON_OPTIONS if name in options})
    return place(policy, problem, **{name: options[name] for name in chosen.options if name in options})


def place(policy: str, problem: Problem, **options: Any) -> Placement:
    """Solve a problem under the policy called `policy`: `allocate` for problems already made, once for many policies.

    Pure: the same problem and options give the same placement (a solver's time limit excepted), and problem and
    placement can be pickled. Takes the options of the policy alone. Raises ValueError as `allocate` does.
    """
    chosen = find_policy(policy)
    for option in options:
        if option not in chosen.options:
            takes = ", ".join(chosen.options) or "none"
            raise ValueError(f"policy {policy!r}: unknown option {option!r}; beside the problem it takes {takes}")
    reason = chosen.reason(problem)
    if reason is not None:
        raise ValueError(f"policy {policy!r} {reason}")
    placement = score(policy, chosen.function(problem, **options), problem)
    _check_limits(placement)
    return placement


def find_policy(name: str) -> Policy:
    """The policy called `name`. Raises ValueError naming the nearest when there is none."""
    if name not in POLICIES:
        near = difflib.get_close_matches(str(name), POLICIES, n=1, cutoff=0.3)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise ValueError(f"unknown policy {name!r}{hint} Known: {', '.join(POLICIES)}")
    return POLICIES[name]


def policies_for(spec: LayerSpec, loads: Any, ranks: int, *, quick: bool = True, **options: Any) -> list[str]:
    """Names of the policies that can place this, in the table's order; with `quick` only those that take no time."""
    problem = make_problem(spec, loads, ranks, **options)
    return [name for name, policy in POLICIES.items() if policy.reason(problem) is None and (policy.quick or not quick)]


def rescore(placement: Placement, loads: Any) -> Placement:
    """The same experts on the same ranks, with the same shares, under other loads [E], with the bounds for these.

    Plan on one window, score on another. Raises ValueError as `allocate` does for loads.
    """
    problem = placement.problem
    loads = checked_loads(loads, problem.spec)
    moved = replace(problem, loads=loads, work=2.0 * loads * expert_parameters(problem.spec), costs=None)
    return score(placement.policy, Answer(placement.replicas, placement.shares, placement.note), moved)


def score(policy: str, answer: Answer, problem: Problem) -> Placement:
    """What a policy's answer costs every rank, beside the bounds."""
    expert, rank, _ = copies_of(answer.replicas, answer.shares)
    parameters = np.zeros(problem.ranks, dtype=np.int64)
    np.add.at(parameters, rank, expert_parameters(problem.spec)[expert])
    memory = np.zeros(problem.ranks, dtype=np.int64)
    np.add.at(memory, rank, problem.sizes[expert])
    work = spread(problem.work, answer.replicas, answer.shares, problem.ranks)
    bound = _bound(problem, answer, problem.work, work, "FLOPs")
    costs = problem.costs
    cost = None if costs is None else spread(costs, answer.replicas, answer.shares, problem.ranks)
    return Placement(
        policy=policy,
        spec=problem.spec.name,
        ranks=problem.ranks,
        replicas=answer.replicas,
        shares=answer.shares,
        rows=_rows(problem, answer),
        work=work,
        parameters=parameters,
        memory=memory,
        bound=bound,
        note="; ".join(note for note in (answer.note, _uneven(problem)) if note),
        size_bound=_size_bound(problem, answer, bound),
        cost=cost,
        cost_bound=None if costs is None or cost is None else _bound(problem, answer, costs, cost, "cost"),
        solution=answer.solution,
        problem=problem,
    )


def _rows(problem: Problem, answer: Answer) -> NDArray[Any]:
    """Rows of each rank [P], whole numbers staying whole where nothing is replicated."""
    rows = spread(problem.loads, answer.replicas, answer.shares, problem.ranks)
    whole = problem.loads.dtype == np.int64 and all(len(ranks) == 1 for ranks in answer.replicas)
    return rows.astype(np.int64) if whole else rows


def _bound(
    problem: Problem, answer: Answer, values: NDArray[np.float64], on_ranks: NDArray[np.float64], unit: str
) -> float:
    """The combinatorial bound for values [E], which came to on_ranks [P], or the solver's where that is higher."""
    least = int(problem.least.min())
    bound = lower_bound(values, problem.ranks, speeds=problem.speeds, replicas=problem.replicas, least=least)
    solution = answer.solution
    if solution is not None and solution.unit == unit:
        return max(bound, min(solution.bound, float((on_ranks / problem.speeds).max())))
    return bound


def _size_bound(problem: Problem, answer: Answer, bound: float) -> float | None:
    """The bound among placements even in every width, where this is one; it keeps the limits of `bound` as well."""
    if any(len(ranks) > 1 for ranks in answer.replicas):
        return None
    rank_of = np.array([ranks[0] for ranks in answer.replicas])
    widths = problem.spec.expert_widths
    for width in np.unique(widths):
        if np.ptp(np.bincount(rank_of[widths == width], minlength=problem.ranks)) > 1:
            return None
    return max(bound, lower_bound(problem.work, problem.ranks, widths, speeds=problem.speeds))


def _check_limits(placement: Placement) -> None:
    """Raise ValueError, naming the policy, for a rank over its memory or out of its slots."""
    problem = placement.problem
    over = placement.memory > problem.caps
    if over.any():
        rank = int(np.argmax(over))
        raise ValueError(
            f"policy {placement.policy!r}: memory_cap: expected at most {problem.caps[rank]:.0f} bytes of experts on "
            f"rank {rank}, got {placement.memory[rank]}"
        )
    held = np.bincount(copies_of(placement.replicas, placement.shares)[1], minlength=problem.ranks)
    out = (held < problem.least) | (held > problem.most)
    if out.any():
        rank = int(np.argmax(out))
        raise ValueError(
            f"policy {placement.policy!r}: slots: expected {problem.least[rank]} to {problem.most[rank]} experts on "
            f"rank {rank}, got {held[rank]}"
        )


def _max_over_mean(values: NDArray[Any]) -> float:
    return float(values.max() / values.mean())


def _uneven(problem: Problem) -> str:
    """Said where even slots cannot be equal."""
    least, extra = divmod(problem.copies, problem.ranks)
    if not extra or problem.slots != "even":
        return ""
    what = "copies" if problem.replicas else "experts"
    return (
        f"{problem.ranks} ranks do not divide {problem.copies} {what}: {extra} hold {least + 1}, "
        f"{problem.ranks - extra} hold {least}"
    )
