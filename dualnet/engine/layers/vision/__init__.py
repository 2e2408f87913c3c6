"""Layers over windows of an image: convolution, pooling, LRN, Im2col, SPP."""
