"""Simulated hardware: chips, pins and a room with physics, on which the real drivers run."""
