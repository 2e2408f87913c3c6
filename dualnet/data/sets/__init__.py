"""The data sets of the thesis and of the quick start, read from where they are published."""
