"""Data sets: where images lie, how they are paired, degraded, sampled and prepared.

Importing this folder is cheap; `constyle_arch.register()` imports its data sets.
"""
