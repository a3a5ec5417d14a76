"""What a hub keeps on disk, and the only code that knows SQL."""
