"""Layers that Caffe's forks have and BVLC Caffe has not, one a file; README.md names the forks."""
