"""Checkpoints: Caffe's files, the record that commits them, and what else a restart needs."""
