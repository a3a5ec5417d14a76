"""What the workbench can refuse.

ToolError
├── BadFile           a file given on the command line cannot be read or is not what it must be
├── ProcessFailed     a process that a tool started did not come up, or ended with an error
├── FitRefused        a calibration's measurements are not good enough to sign
└── VerdictFailed     a demo or replay ran, and what it was to show did not happen
"""

from __future__ import annotations


class ToolError(Exception):
    """Root of the workbench's errors; the message names the thing and the remedy."""


class BadFile(ToolError):
    """A file cannot be read, or is not what it must be."""


class ProcessFailed(ToolError):
    """A started process did not come up, or ended with an error."""


class VerdictFailed(ToolError):
    """What a run was to show did not happen."""


class FitRefused(ToolError):
    """A calibration's measurements are not good enough to sign; nothing was written."""
