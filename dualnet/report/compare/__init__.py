"""Runs beside each other: how far each has come, how good it is, in what their settings differ."""
