"""The solver and what it uses: learning-rate policies, the update, and update rules, one a file.

Each rule registers itself under its name in prototxt.
"""
