"""Layers without bottoms that produce batches, and HDF5Output, which writes them."""
