"""The sections that hold records against the measured roofs: the roofline, and decode against prefill."""

from __future__ import annotations

from collections.abc import Sequence

from ..records import CaseRecord, Run
from . import readings_regimes as regimes
from . import readings_roofline as readings
from .cases import Group, case_label, case_meta, scale_text, series_of
from .figures_regimes import decode_against_prefill
from .figures_roofline import roofline
from .palette import ordered
from .regimes import LEAST_PREFILL, MOST_DECODE, shares_of
from .roofline import Limit, Roofs, limit_of, missing_roofs, roofs_of
from .section import Section, Variant

# Where no roofs were measured, points are drawn without them, and nothing that rests on these numbers is said.
_NO_ROOFS = Roofs(1.0, 1.0)


def roofline_section(run: Run, found: Sequence[Group], main: Group | None) -> Section:
    """Arithmetic intensity against useful TFLOP/s, a variant for each layer, routing and dtype."""
    section = Section(
        "roofline",
        "Roofline",
        "Useful FLOPs over the bytes that must move, against the rate reached; grey, the matrix rate and the copy "
        "bandwidth measured in this run. A dotted line joins an implementation's points by tokens.",
        "measured",
        "No timed record counts FLOPs and bytes.",
    )
    first = 0
    for case, series in series_of(found):
        roofs = roofs_of(case.dtype, run.environment)
        timed = [record for group in series for record in group.timed]
        limits = [one for record in timed if (one := limit_of(record, roofs or _NO_ROOFS)) is not None]
        figure = roofline(limits, roofs)
        if figure is None:
            continue
        if main in series:
            first = len(section.variants)
        known = {id(one.record) for one in limits}
        left_out = ordered(record.implementation for record in timed if id(record) not in known)
        section.variants.append(_variant(case, run, limits, roofs, left_out))
    return section.starting(first)


def _variant(case: CaseRecord, run: Run, limits: list[Limit], roofs: Roofs | None, left_out: list[str]) -> Variant:
    missing = missing_roofs(case.dtype, run.environment)
    return Variant(
        case_label(case, series_title(case)),
        roofline(limits, roofs),
        readings.roofline_reading(limits, roofs, missing),
        readings.HEADER,
        readings.rows(limits, roofs),
        readings.remarks(limits, roofs, left_out),
        case_meta(case, tokens=False),
    )


def regimes_section(run: Run, found: Sequence[Group], main: Group | None) -> Section:
    """Shares of the limiting roof in decode and in prefill, a variant for each layer, routing and dtype with roofs."""
    reasons = dict.fromkeys(filter(None, (missing_roofs(group.case.dtype, run.environment) for group in found)))
    why = f" ({'; '.join(reasons)})" if reasons else ""
    section = Section(
        "regimes",
        "Decode against prefill",
        f"Decode, up to {MOST_DECODE} tokens, above each line; prefill, {LEAST_PREFILL} tokens or more, below it. A "
        "share is of the roof that limits the case; a large mark is the geometric mean of the small ones.",
        "measured",
        f"No share of a measured roof is known{why}.",
    )
    first = 0
    for case, series in series_of(found):
        roofs = roofs_of(case.dtype, run.environment)
        shares = shares_of(series, roofs) if roofs is not None else []
        figure = decode_against_prefill(shares)
        if figure is None:
            continue
        if main in series:
            first = len(section.variants)
        said, table = regimes.regimes_reading(series, shares), regimes.rows(series, shares)
        label = case_label(case, series_title(case))
        remarks, meta = regimes.remarks(series, shares), case_meta(case, tokens=False)
        section.variants.append(Variant(label, figure, said, regimes.HEADER, table, remarks, meta))
    return section.starting(first)


def series_title(case: CaseRecord) -> str:
    """The layer, routing and dtype of cases that differ in tokens alone."""
    spec = f"{case.spec} (scaled down)" if scale_text(case) else case.spec
    return " · ".join(part for part in (spec, case.routing, case.dtype) if part)
