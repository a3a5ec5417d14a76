"""The REST interface: what a hub shows, and the records it takes."""
