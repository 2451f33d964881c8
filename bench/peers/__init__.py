"""Other people's implementations of the layer, and ours launched in other ways, beside those of `kernels`.

Optional adapters behind the same `Implementation`: the gate, the timers, records and reports treat them like ours. None
is a dependency: where a peer's package is not installed, `supports` says so.

>>> layer = contestant("liger").prepare(spec, weights, device, dtype)
"""

from .table import CONTESTANTS, PEERS, TRITON_PEERS, Peer, contestant, peer_notes

__all__ = ["CONTESTANTS", "PEERS", "TRITON_PEERS", "Peer", "contestant", "peer_notes"]
