"""`dualnet bench overlap`: iterations timed side by side."""
