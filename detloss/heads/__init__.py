"""Head adapters: how the box loss of each head of a torchvision detector is replaced.

An adapter is a class in the entry-point group ``detloss.heads``; `detloss.heads.base` is all that its author must read.
"""
