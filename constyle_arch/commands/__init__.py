"""The commands of `basicsr`, a module each: its docstring and `EXAMPLES` are the help, `add_to`
adds the arguments, `run` runs it and returns the exit code, or None for 0.
"""
