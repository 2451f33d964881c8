"""One plain sentence for every figure, generated from what it shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..records import BASELINE, Environment, Run
from .cases import Group, has_times, hot_median, implementations, scale_text
from .figures_time import roof_of, thinned, timed_names
from .figures_work import counted_flops
from .formats import counted, digits, is_number, listed, percent_text, rate_text, time_text, tokens_text, whole
from .own_ceiling import own_reading
from .verdict import told_apart


def time_reading(series: Sequence[Group]) -> str:
    """Who is fastest at which number of tokens."""
    names = timed_names(series)
    if len(names) < 2:
        return f"Only {listed(names)} was timed: there is nothing to compare it with." + _left_out(series)
    winners: dict[str, list[str]] = {}
    for group in series:
        ranked = group.fastest
        if not ranked or not group.case.tokens:
            continue
        first, *others = ranked
        undecided = not others or not told_apart(first, others[0])
        winners.setdefault("" if undecided else first.implementation, []).append(whole(group.case.tokens))
    parts = [f"{name} is fastest at {listed(tokens)} tokens" for name, tokens in winners.items() if name]
    if "" in winners:
        parts.append(f"the fastest two cannot be told apart at {listed(winners[''])} tokens")
    phrase = _sentence("; ".join(parts))
    return (f"T{phrase[1:]}" if phrase.startswith("the fastest") else phrase) + _left_out(series)


def _left_out(series: Sequence[Group]) -> str:
    untimed = [group for group in series if group.case.tokens == 0]
    return f" {counted(len(untimed), 'case')} without tokens cannot be drawn on this axis." if untimed else ""


def rate_reading(series: Sequence[Group], environment: Environment) -> str:
    """The highest rate and its share of the roof; and what those without tensor cores reach of what they can."""
    timed = [record for group in series for record in group.timed if is_number(record.tflops)]
    if not timed:
        return "No rate is known."
    best = max(timed, key=lambda record: record.tflops or 0.0)
    roof = roof_of(series, environment)
    reached = f"{best.implementation} reaches {rate_text(best.tflops)} at {tokens_text(best.case.tokens or 0)}"
    if roof is None:
        said = f"{reached}; no matrix rate was measured to compare it with."
    else:
        share = percent_text((best.tflops or 0.0) / roof)
        said = f"{reached}, {share} of the {rate_text(roof)} a plain matrix product reached in the same run."
    return " ".join(filter(None, (said, own_reading(series, environment))))


def work_reading(group: Group) -> str:
    """How much is executed beyond what is needed."""
    ratios = [(executed / useful, record.implementation) for record, useful, executed in counted_flops(group)]
    if not ratios:
        return "No FLOPs were counted."
    (least, thrifty), (most, wasteful) = min(ratios), max(ratios)
    if most <= 1.0005:
        return "Every implementation executes just what the mathematics needs."
    if len(ratios) == 1:
        return f"{wasteful} executes {digits(most)} times what the mathematics needs."
    return (
        f"{wasteful} executes {digits(most)} times what the mathematics needs, "
        f"{thrifty} {'just that' if least <= 1.0005 else f'{digits(least)} times'}; the hatched part is the surplus."
    )


def phases_reading(group: Group) -> str:
    """Which phase takes longest, and with which implementations."""
    longest_of: dict[str, list[str]] = {}
    for record in group.fastest:
        parts = {name: part for name, part in record.phases.items() if name != "end_to_end"}
        timed = {name: part.median_us for name, part in parts.items() if has_times(part)}
        if timed:
            longest = max(timed, key=lambda name: timed[name])
            longest_of.setdefault(longest, []).append(f"{record.implementation} ({time_text(timed[longest])})")
    said = [f"{name} takes the longest with {listed(names)}" for name, names in longest_of.items()]
    phrase = _sentence("; ".join(said))
    return f"{phrase} Phases are timed one at a time, so they need not add up to the time of the whole."


def samples_reading(group: Group) -> str:
    """How steady the samples are."""
    spreads = []
    thin = 1
    for record in group.timed:
        assert record.hot is not None
        samples = sorted(us for us in record.hot.samples_us if is_number(us))
        thin = max(thin, thinned(record.hot.samples_us)[1])
        if len(samples) > 1:
            spreads.append((samples[-1] / hot_median(record), record.implementation, len(samples)))
    if not spreads:
        return "One sample each: nothing can be said of the spread."
    worst, name, count = max(spreads)
    shown = f" Every {thin}th sample is drawn." if thin > 1 else ""
    suspects = sum(len(record.hot.suspects) for record in group.timed if record.hot is not None)
    shown += f" {counted(suspects, 'suspect sample')} ringed." if suspects else ""
    return (
        f"The slowest sample is {digits(worst)} times its median ({name}, of {counted(count, 'sample')}). "
        f"Implementations take turns, so a disturbance hits all alike.{shown}"
    )


def compiled_reading(run: Run) -> str:
    """Kernels, registers, spills and tensor-core instructions by implementation."""
    said = []
    for record in run.records:
        good = [entry for entry in record.resources if not entry.get("error")]
        if not record.resources:
            continue
        failed = len(record.resources) - len(good)
        registers = [entry["registers"] for entry in good if is_number(entry.get("registers"))]
        spills = sum(1 for entry in good if entry.get("spills"))
        tensor = sum(1 for entry in good if entry.get("tensor_instructions"))
        said.append(
            f"{record.implementation}: {counted(len(good), 'kernel')}"
            + (f", at most {max(registers)} registers" if registers else "")
            + (f", {spills} with spills" if spills else ", no spills")
            + (f", {tensor} with tensor-core instructions" if tensor else ", none with tensor-core instructions")
            + (f", {failed} failed to compile" if failed else "")
        )
    return _sentence("; ".join(said)) + " Read from the binaries; nothing here was run."


def timing_methods(run: Run) -> list[tuple[str, str, int]]:
    """(temperature, method and stop reason, count) of every way times were taken."""
    found: Counter[tuple[str, str]] = Counter()
    for record in run.records:
        for temperature, samples in (("hot", record.hot), ("cold", record.cold)):
            if samples is not None:
                found[temperature, f"{samples.method}; stopped by {samples.stop}"] += 1
    return [(temperature, words, count) for (temperature, words), count in sorted(found.items())]


def scaled_reading(run: Run) -> str:
    """Which layers of the run are scaled down; empty when none is."""
    scaled = dict.fromkeys(record.case.spec for record in run.records if scale_text(record.case))
    if not scaled:
        return ""
    verb = "is a scaled-down layer" if len(scaled) == 1 else "are scaled-down layers"
    return f"{listed(list(scaled))} {verb}: not to be read as the full size."


def baseline_reading(group: Group) -> str:
    """Which ratios over the baseline the table has."""
    if BASELINE not in implementations(group.timed):
        return f"{BASELINE} was not timed on this case, so there are no ratios over it."
    return f"Ratios are over {BASELINE}, from samples taken in the same interleaved rounds."


def _sentence(text: str) -> str:
    """A full stop at the end; names keep their small first letter."""
    return f"{text}." if text else ""
