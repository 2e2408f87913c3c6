"""Losses, with Softmax and Accuracy: layers that compare scores with labels."""
