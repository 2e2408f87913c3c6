"""`dualnet bench memory`: the largest batch of each net."""
