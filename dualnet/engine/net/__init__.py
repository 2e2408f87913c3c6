"""The net: layers in their places, passes through them, weights, and pycaffe's `Net`.

structure.py builds it, base_net.py runs it, net.py is what users see.
"""
