"""Logs in Caffe's format, and what is drawn from them."""
