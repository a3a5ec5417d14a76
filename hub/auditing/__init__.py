"""Everything re-verified from disk."""
