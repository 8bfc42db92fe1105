"""What verbalizers share whose model runs in a server: a prompt of embeddings, a patient client, a journal."""
