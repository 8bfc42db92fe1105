"""Bundled models for demonstrations and tests: small networks with weights, texts, dictionaries and verbalizers."""
