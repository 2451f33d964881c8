"""Tuning: studies of an implementation's launch configurations, and the table their winners go to."""
