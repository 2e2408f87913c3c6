"""A data set of one's own images, from a list or from a folder for each class."""
