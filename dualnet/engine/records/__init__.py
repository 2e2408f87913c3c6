"""Where data layers get their samples: databases, lists of files, windows.

Also what happens to a sample before it is in a batch: cropping, mirroring, and prefetching.
"""
