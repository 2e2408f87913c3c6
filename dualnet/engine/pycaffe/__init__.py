"""The module `caffe` as pycaffe has it."""
