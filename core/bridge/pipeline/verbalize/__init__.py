"""Features and activations, put into words by verbalizers."""
