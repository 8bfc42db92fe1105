"""Fitting maps: training rows, the fit, its controls, and the fitted bridge."""
