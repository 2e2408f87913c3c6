"""Pictures of a single net and its two halves."""
