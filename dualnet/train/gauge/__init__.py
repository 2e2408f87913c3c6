"""What looks at a training without acting on it."""
