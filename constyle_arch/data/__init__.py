"""Data: the data sets, where their images lie, how names are matched, how training samples, and
`basicsr prepare`.

Importing this folder is cheap; `constyle_arch.register()` imports its data sets.
"""
