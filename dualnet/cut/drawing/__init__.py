"""Pictures of a single net and its pieces."""
