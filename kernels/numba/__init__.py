"""The expert FFN in Numba: `config.py` (tiles), `gate_up.py` (fc1), `down.py` (fc2), `tile.py` (what both share),
`ragged.py` (where activations start), `layer.py` (launches), `aot.py` (compiling without a GPU).
"""

from .implementation import IMPLEMENTATION

__all__ = ["IMPLEMENTATION"]
