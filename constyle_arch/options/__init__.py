"""A run's options: reading the file, and checking that the run it asks for can be made."""
