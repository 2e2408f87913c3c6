"""Nets as their prototxt says them: split in two, checked, planned, drawn, and merged again.

graph.py reads a net's layers and blobs, upstream.py says which layers lead to a blob, dataflow.py
what the layers hand to each other, shapes.py how large Caffe makes it; prototxt.py keeps the
author's text.
"""
