"""Transfer of dictionaries, directions and probes through a bridge."""
