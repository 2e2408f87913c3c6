"""Where data layers get their samples from: databases, lists of files, windows."""
