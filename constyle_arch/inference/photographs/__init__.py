"""Users' photographs: finding, reading, restoring and writing them with all they hold."""
