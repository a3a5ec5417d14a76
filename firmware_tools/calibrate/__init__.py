"""Calibration in the field: measuring under references, fits and their limits, and the signed record."""
