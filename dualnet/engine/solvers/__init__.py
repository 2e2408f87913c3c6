"""Update rules, one a file; each registers itself under its name in prototxt."""
