"""Comparison with BVLC Caffe, which runs in a process of its own."""
