"""Images of losses and the numbers in them (the extra ``detloss[plot]``).

Values and gradients come from each loss's own ``forward``, so every installed loss can be drawn.
"""
