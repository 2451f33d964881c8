"""Competing implementations of the expert FFN, all behind `Implementation`, all sharing `dispatch`.

>>> layer = load("torch_loop").prepare(spec, weights, device, dtype)
>>> y = layer(x, plan)

Importing this package imports neither torch nor a kernel language: each implementation is imported on first use.
"""

from .interface import PHASES, Implementation, Layer
from .table import IMPLEMENTATIONS, load

__all__ = ["IMPLEMENTATIONS", "PHASES", "Implementation", "Layer", "load"]
