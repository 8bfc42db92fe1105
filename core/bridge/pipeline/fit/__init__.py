"""Maps: their training rows, the fit, its controls, and the bridge that comes of it."""
