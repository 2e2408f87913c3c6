"""A network of a chosen rate and latency between two processes of one machine."""
