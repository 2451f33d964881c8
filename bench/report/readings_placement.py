"""Sentences about placements: which is the most even, how near to the bound, and how far a simulation is off."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from ..records import PlacementRecord
from .figures_placement import bound_of, drawable, mean_work
from .figures_placement_measured import Timed, makespan, signed, timed_ranks
from .formats import counted, digits, is_number, listed, percent_text, time_text

OPTIMAL = 1.0005


def placement_reading(placements: Sequence[PlacementRecord]) -> str:
    """The sentence under the figure: the policies, and how to read the lines."""
    shown = drawable(placements)
    lines = ["Dotted: the mean rank."]
    lines += ["Solid: the bound on work no placement can beat."] if any(map(bound_of, shown)) else []
    if any(is_number(placement.size_bound) for placement in shown):
        lines.append("Dashed: the bound where every rank holds equally many experts of each width.")
    timed = any(placement.measured is not None for placement in shown)
    lines += [
        "Dark: the fullest rank.",
        "Times were measured, the rest is counted." if timed else "Predicted from row counts, not measured.",
    ]
    return f"{placement_sentence(placements)} {' '.join(lines)}"


def placement_sentence(placements: Sequence[PlacementRecord]) -> str:
    """The best and the worst policy, and how far the best is from what is possible."""
    ranked = [(max(p.work) / (mean_work(p) or 1), p) for p in drawable(placements)]
    if not ranked:
        return "No work is known for these ranks."
    (least, best), (most, worst) = ranked[0], ranked[-1]
    said = f"{best.policy} leaves the busiest of {best.ranks} ranks with {digits(least)} times the mean work"
    if is_number(best.work_over_bound):
        optimal = best.work_over_bound <= OPTIMAL
        said += ", which is proven to be the least possible" if optimal else ""
        said += "" if optimal else f", {digits(best.work_over_bound)} times the proven bound"
    if most > least * OPTIMAL:
        straggler = f" (straggler: rank {worst.straggler})" if worst.straggler is not None else ""
        said += f"; {worst.policy} leaves {digits(most)} times{straggler}"
    return f"{said}."


def measured_reading(placements: Sequence[PlacementRecord]) -> str:
    """How far the simulated makespans are from the measured ones, and whether they choose the same policy."""
    shown = timed_ranks(placements)
    complete = [pair for pair in shown if makespan(pair[1]) is not None and is_number(pair[1].makespan_error)]
    if not complete:
        return "Some ranks of every placement were not timed, so there is no measured makespan."
    errors = [abs(times.makespan_error or 0.0) for _, times in complete]
    worst = max(complete, key=lambda pair: abs(pair[1].makespan_error or 0.0))
    said = f"The simulated makespan is {signed(worst[1].makespan_error)} off the measured one"
    if len(complete) > 1:
        said = (
            f"Of {counted(len(complete), 'placement')} the simulated makespan is {percent_text(median(errors))} off "
            f"the measured one in the median and {signed(worst[1].makespan_error)} at most ({worst[0].policy})"
        )
    chosen = f" {_chosen(complete)}" if len(complete) > 1 else ""
    return (
        f"{said}.{chosen} Solid line: the makespan measured, with its number; dashed: simulated. "
        "Exchanges are no part of either."
    )


def _chosen(complete: Sequence[Timed]) -> str:
    """Whether who trusts the simulation takes the policy that measures best, and what it costs where not."""
    quickest, picked = complete[0], min(complete, key=lambda pair: pair[1].simulated_makespan_s)
    if picked[0] is quickest[0]:
        return f"Both find {quickest[0].policy} the quickest."
    own, least = makespan(picked[1]) or 0.0, makespan(quickest[1]) or 0.0
    if _together(picked, quickest):
        return (
            f"The simulation picks {picked[0].policy}, the measurement {quickest[0].policy}: their intervals overlap, "
            "so they cannot be told apart."
        )
    return (
        f"The simulation picks {picked[0].policy} where {quickest[0].policy} measures quickest: "
        f"following it costs {percent_text(own / least - 1)}."
    )


def _together(one: Timed, other: Timed) -> bool:
    """Whether the intervals of the slowest ranks of two placements meet; without intervals they do."""
    ends = [slowest_interval(pair) for pair in (one, other)]
    if None in ends:
        return True
    (low, high), (other_low, other_high) = (end or (0.0, 0.0) for end in ends)
    return low <= other_high and other_low <= high


def slowest_interval(pair: Timed) -> tuple[float, float] | None:
    """The interval of the makespan, seconds: the largest low and the largest high of all ranks, since the slowest
    rank may be another one each time. None where a rank has none.
    """
    times = pair[1]
    ends = [(low, high) for low, high in zip(times.low_s, times.high_s, strict=True)]
    if not ends or not all(is_number(low) and is_number(high) for low, high in ends):
        return None
    return max(low or 0.0 for low, _ in ends), max(high or 0.0 for _, high in ends)


def measured_verdict(placements: Sequence[PlacementRecord]) -> tuple[str, str]:
    """The kind of a verdict and its sentence, on the placements of one case as one implementation computed them."""
    complete = [pair for pair in timed_ranks(placements) if makespan(pair[1]) is not None]
    first = placements[0]
    implementation = first.measured.implementation if first.measured is not None else ""
    where = f"{first.ranks} ranks computed by {implementation}"
    if not complete:
        return "not measured", f"Not measured: some ranks of every placement were not timed on {where}."
    best = complete[0]
    slowest = f"{best[0].policy} leaves the slowest of {where} with {time_text(1e6 * (makespan(best[1]) or 0))}"
    told = [pair for pair in complete[1:] if not _together(best, pair)]
    ties = [pair[0].policy for pair in complete[1:] if _together(best, pair)]
    kind = "decided" if told or len(complete) == 1 else "undecided"
    if ties:
        slowest += f", not told apart from {listed(ties)}"
    if told:
        worst = told[-1]
        ratio = (makespan(worst[1]) or 0.0) / (makespan(best[1]) or 1.0)
        slowest += f"; {worst[0].policy} takes {digits(ratio)} times as long"
    ratio = best[0].work_over_bound
    if is_number(ratio):
        bound = "its work is proven to be the least possible" if ratio <= OPTIMAL else ""
        slowest += f"; {bound or f'its work is {digits(ratio)} times the proven bound'}"
    return kind, f"{slowest}."
