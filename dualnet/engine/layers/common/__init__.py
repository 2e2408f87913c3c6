"""Layers that mix, normalise, select or rearrange values, and the base of users' Python layers."""
