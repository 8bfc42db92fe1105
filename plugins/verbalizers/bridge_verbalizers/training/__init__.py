"""What the trainings of all readers share: examples, low-rank adapters, the loss, and the order of the batches."""
