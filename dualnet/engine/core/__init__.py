"""Blobs, layers in their places, and the net that runs them."""
