"""Preparation: making data sets and packing them, for `basicsr prepare`."""

from constyle_arch.preparation.data_sets import prepare_data_set, prepare_folders
from constyle_arch.preparation.packing import Plan
from constyle_arch.preparation.sample import prepare_sample

__all__ = ["Plan", "prepare_data_set", "prepare_folders", "prepare_sample"]
