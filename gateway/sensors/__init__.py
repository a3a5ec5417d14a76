"""Sensor drivers: one file per chip or input, opened by name through `registry`."""
