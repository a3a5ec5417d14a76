"""Sirens, relays and valves: a guardian process that owns their pins, and the daemon's side of it."""
