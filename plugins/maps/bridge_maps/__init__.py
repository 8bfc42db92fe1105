"""First-party map types, all closed forms of moments."""
