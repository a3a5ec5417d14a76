"""What people ask of a gateway or its configuration: checks, live values, status, and a bundle for support."""
