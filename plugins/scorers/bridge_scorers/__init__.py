"""First-party scorers of fitted maps."""
