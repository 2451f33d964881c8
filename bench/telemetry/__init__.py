"""Telemetry: what the device did while a call was replayed, read from NVML or from a recorded trace."""
