"""Training steps timed side by side: the engine, BVLC Caffe, and plain PyTorch.

variants.py starts one process for each variant (child.py) and interleaves their measurements.
Importing this package loads neither PyTorch nor NumPy, so that a child runs in BVLC Caffe's
interpreter too.
"""
