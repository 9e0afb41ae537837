"""Does ConStyle help? Small trainings with and without it, compared image by image: `python -m
benchmarks.evidence`.
"""
