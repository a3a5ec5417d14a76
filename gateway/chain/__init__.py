"""The ledger format: pure functions over bytes; FORMAT.md is normative."""
