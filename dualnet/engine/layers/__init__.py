"""The layer types, one family a file; README.md beside this file says how to write one."""
