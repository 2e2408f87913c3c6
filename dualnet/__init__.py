"""Train a convolutional network in two halves, on two nodes, with BVLC Caffe or without it."""

__version__ = "0.1.0"
