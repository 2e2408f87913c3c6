"""What happens around a loop: claiming the run directory, starting, agreeing, ending."""
