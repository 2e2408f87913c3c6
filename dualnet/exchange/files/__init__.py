"""The carrier of files."""
