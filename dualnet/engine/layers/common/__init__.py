"""Caffe's common layers, and those that move or combine values."""
