"""The built-in distillation methods, one file each, found through the entry points ``bench.methods``.

A method is at most two classes below ``bench.plugin.Method``: there is one small base for a family
of them. The bases, and the functions that methods share, lie in ``methods.parts``.
"""
