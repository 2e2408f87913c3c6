"""Data sets, written as the databases that Caffe's Data layer reads."""
