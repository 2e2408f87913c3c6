"""The module `caffe` as pycaffe has it.

api.py is what `import caffe` finds; net.py is its `Net`, and the other files are its submodules, as
`caffe.io`, or parts of them.
"""
