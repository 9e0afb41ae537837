"""Preparation: making and writing data sets, for `basicsr prepare`."""
