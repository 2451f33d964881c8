"""The expert FFN in Numba: `config.py` (tiles), `gate_up.py` (fc1), `down.py` (fc2), `tile.py` (what both share),
`ragged.py` (where activations start), `layer.py` (launches), `aot.py` (compiling without a GPU), `ceiling.py` (what the
CUDA cores can reach). The files `mma_*.py` are the same on tensor cores, through the inline PTX of `ptx.py`.
"""

from .implementation import IMPLEMENTATION

__all__ = ["IMPLEMENTATION"]
