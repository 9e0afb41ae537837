"""People's own photographs: finding them, reading and writing them with all they hold, restoring
them one by one.
"""
