"""Verbs that look at a cluster or act in it, with the rights of whoever calls and no others.

A verb's module in `cli.commands` names its options with `cli.cluster.options` and imports the rest
in its `run`: `cli.cluster.session.run` logs in, calls the verb's work, prints the `Report` that it
returns in the form that was asked for, and turns whatever goes wrong into a sentence and an exit
code: 0 well, 1 not well, 2 wrong usage.
"""
