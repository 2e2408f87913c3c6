"""Files as Caffe reads and writes them: prototxt, stored blobs, HDF5, solverstate, datum, images.

Old layouts are upgraded, and every error names the file.
"""
