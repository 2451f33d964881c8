"""Benchmarks for the heterogeneous grouped expert FFN: kernels, dispatch, placement, measurement."""

__version__ = "0.1.0"
