"""The gateway: what runs on the Raspberry Pi in a building."""
