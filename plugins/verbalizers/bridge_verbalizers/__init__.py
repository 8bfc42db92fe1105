"""First-party verbalizers, one module each."""
