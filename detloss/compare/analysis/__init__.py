"""From the folders of runs to all that they say, but for the intervals, which are in `statistics`."""
