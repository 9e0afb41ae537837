"""Checkpoints: how they are written, and how published tensor names map to this project's."""
