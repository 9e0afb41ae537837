"""A run: its folder, resuming, random numbers, interruption, progress, validation and what was
measured.
"""
