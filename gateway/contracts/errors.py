"""Errors of the contracts, and their tree.

ContractError
├── DocumentError (ValueError)     a contract document, or its bytes, that is refused
│   └── ExpressionError            an expression that is refused: syntax, types, bounds, exactness
├── MismatchError (LookupError)    a contract that does not fit the series or the engine at hand
├── ReadingError (ValueError)      a value or a time no series can have
├── SnapshotError (ValueError)     a saved state that this engine did not write
└── TemplateError (ValueError)     a template that is unknown, or names it lacks
"""

from __future__ import annotations


class ContractError(Exception):
    """Root of everything this package raises on purpose."""


class DocumentError(ContractError, ValueError):
    """A contract document, or its bytes, is refused; the message names the place and the remedy."""


class ExpressionError(DocumentError):
    """An expression is refused: its syntax, its types, its size, or a number that is not exact."""


class MismatchError(ContractError, LookupError):
    """A contract does not fit: an unknown series, another unit or scale, a repeated or unknown id."""


class ReadingError(ContractError, ValueError):
    """A value is not a 64-bit integer, a time not an integer, or a fault kind not a word."""


class SnapshotError(ContractError, ValueError):
    """A saved state is not what an engine's `snapshot` returns."""


class TemplateError(ContractError, ValueError):
    """A template is unknown, or a name it needs is missing, unknown or malformed."""
