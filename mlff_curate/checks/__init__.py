"""Are the frames and their labels sound? Frames and labels in, findings out."""
