"""Preparation: making data sets and packing them, for `basicsr prepare`."""
