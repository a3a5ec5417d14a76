"""What a technician asks of a gateway on the spot: is everything there, does it work, and if not, what to do."""
