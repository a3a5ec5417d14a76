"""Gateways of a building tell each other alarms on the LAN, without hub or broker (FORMAT.md, "Neighbours")."""
