"""One piece's nets on pycaffe: built, driven and updated."""
