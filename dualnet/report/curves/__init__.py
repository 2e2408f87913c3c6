"""Figures of training curves: what they show, and how it is drawn."""
