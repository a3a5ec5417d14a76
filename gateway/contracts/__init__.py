"""Threshold contracts: signed documents that decide, on the device and alone, when a reading is an alarm.

SEMANTICS.md is normative. The package is pure: no I/O but reading its own templates, no clock, no logging;
of the rest of Tocsin it imports only the canonical encoding.
"""
