"""Shared parts of verbalizers whose model runs in a server: prompts of embeddings, a client with retries, a journal."""
