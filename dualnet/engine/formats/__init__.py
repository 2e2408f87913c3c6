"""Caffe's file formats: prototxt, weights, snapshots, images."""
