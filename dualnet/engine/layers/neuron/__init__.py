"""Activations and Dropout: each value of the top depends on one of the bottom."""
