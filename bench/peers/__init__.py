"""Other people's implementations of the layer, and ours launched in other ways or held to one version, beside those of
`kernels`.

Optional adapters behind the same `Implementation`: the gate, the timers, records and reports treat them like ours. None
is a dependency: where a peer's package is not installed, `supports` says so.

>>> layer = contestant("liger").prepare(spec, weights, device, dtype)
"""

from .ladder import LADDERS, VERSIONS, family_of
from .table import CONTESTANTS, PEERS, SETS, TRITON_PEERS, Peer, contestant, peer_notes

__all__ = [
    "CONTESTANTS",
    "LADDERS",
    "PEERS",
    "SETS",
    "TRITON_PEERS",
    "VERSIONS",
    "Peer",
    "contestant",
    "family_of",
    "peer_notes",
]
