"""Workloads: routings from the router, from named distributions and from traces, and the cases made of them."""

from .case import DEVICES, DTYPES, Case
from .deal import routing_counts
from .device_router import DeviceRouter
from .distributions import DISTRIBUTIONS
from .recordings import load_pt, open_recorded
from .specs import resolve_spec
from .steering import INTERVAL, steer, steered_shares
from .traces import Trace, first_of, open_trace, trace_domains, trace_fits, trace_layers
from .workload import KINDS, Inputs, Workload, hidden_states, parse_routing

__all__ = [
    "DEVICES",
    "DISTRIBUTIONS",
    "DTYPES",
    "INTERVAL",
    "KINDS",
    "Case",
    "DeviceRouter",
    "Inputs",
    "Trace",
    "Workload",
    "first_of",
    "hidden_states",
    "load_pt",
    "open_recorded",
    "open_trace",
    "parse_routing",
    "resolve_spec",
    "routing_counts",
    "steer",
    "steered_shares",
    "trace_domains",
    "trace_fits",
    "trace_layers",
]
