"""Results: what a test measured, written as a table, and the tables of several tests compared."""
