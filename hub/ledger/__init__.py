"""What transactions do: log, state and the rules of application."""
