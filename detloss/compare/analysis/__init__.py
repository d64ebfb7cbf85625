"""From the folders of runs to all results except the intervals.

Those are in `statistics`.
"""
