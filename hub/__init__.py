"""The region: receives, verifies, agrees on and proves what gateways recorded."""
