"""Train a convolutional network in pieces, each on its own node, with BVLC Caffe or without it."""

__version__ = "0.1.0"
