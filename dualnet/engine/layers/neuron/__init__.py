"""Caffe's neuron layers: one value in, one value out."""
