"""A run: folder, resuming, random numbers, interruption, progress, validation, history."""
