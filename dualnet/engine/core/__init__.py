"""What layers compute with: blobs and their memory, fillers, random numbers, products of matrices.

Also the settings of the whole process: device, malloc, threads after a fork.
"""
