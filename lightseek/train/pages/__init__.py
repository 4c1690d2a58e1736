"""Training on pages with text: any encoder and decoder, in one process or many."""
