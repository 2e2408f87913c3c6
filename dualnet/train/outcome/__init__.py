"""What a finished training gives: accuracy, one model, a digest."""
