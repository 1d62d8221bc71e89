"""Floor 4, what people touch.

The command line and the studies: here names (paths, model ids, environment, settings) become objects, and errors
become exit codes. May import every floor below; nothing imports it.
"""
