"""Head adapters: replace the box loss in each head of a detector.

An adapter is a class in the entry-point group ``detloss.heads``; `detloss.heads.base` is all that its author must read.
"""
