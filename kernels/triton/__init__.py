"""The expert FFN in Triton: fc1 in `gate_up.py`, fc2 in `down.py`, tiles in `config.py`, launches in `layer.py`."""

from .implementation import IMPLEMENTATION

__all__ = ["IMPLEMENTATION"]
