"""Caffe's vision layers: convolution, pooling, normalisation over neighbours."""
