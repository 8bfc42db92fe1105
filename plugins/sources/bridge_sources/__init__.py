"""First-party sources of activations."""
