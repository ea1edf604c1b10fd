"""What one hostile user, and one hostile stranger, cost an innocent one, for each thing that they share."""
