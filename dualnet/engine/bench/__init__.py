"""Training steps timed side by side: the engine, BVLC Caffe, and plain PyTorch.

contest.py starts one process for each contender (child.py) and lets them take turns. Importing this
package loads neither PyTorch nor NumPy, so that a child runs in BVLC Caffe's interpreter too.
"""
