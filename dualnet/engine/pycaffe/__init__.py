"""The module `caffe` as pycaffe has it.

api.py is what `import caffe` finds; the other files are its submodules, as `caffe.io`, or parts of
them. Its `Net` and solvers are in rooms of their own.
"""
