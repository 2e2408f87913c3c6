"""Tests of the layer types."""
