"""Training: recipe, batches, loss, optimiser, checkpoints, and the loop that joins them."""
