"""Random streams that stay the same on every machine and Python version."""

from __future__ import annotations

import hashlib

import numpy as np


def generator_for(*parts: object) -> np.random.Generator:
    """A generator seeded by the text of `parts`, such as ("zipf:1.2", "experts", seed).

    Different parts give independent streams; `hash()` would change with every Python process.
    """
    digest = hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).digest()
    return np.random.default_rng(np.random.SeedSequence(int.from_bytes(digest[:16], "little")))
