"""Databases in the formats of Caffe: LMDB written and read, LevelDB converted."""
