"""Comparison: the ratio of two sets of samples with an interval, and the verdict it allows."""
