"""Garbage is let be while much is built, and looked for again afterwards, whatever happens in between."""

from __future__ import annotations

import gc

import pytest

from mohge.bench.records import uncollected


def test_collecting_is_off_inside_and_as_it_was_afterwards() -> None:
    seen = []

    @uncollected()
    def broken() -> None:
        with uncollected():
            seen.append(gc.isenabled())
        seen.append(gc.isenabled())
        raise ValueError("broken")

    assert gc.isenabled()
    with pytest.raises(ValueError, match="broken"):
        broken()
    assert (seen, gc.isenabled()) == ([False, False], True)
