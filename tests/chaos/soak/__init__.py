"""Everything at once, for as long as is asked for: see `run`."""
