"""What every net consists of: blobs and their memory, the structure built from a prototxt, passes.

Beside them the settings of the whole process: device, random numbers, malloc.
"""
