"""From samples to sealed blocks: values, states, decisions, the open block."""
