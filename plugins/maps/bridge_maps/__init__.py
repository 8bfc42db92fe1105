"""First-party map types, all computed in closed form from moments."""
