"""What a disk may do to files, and how they are written and read in spite of it."""
