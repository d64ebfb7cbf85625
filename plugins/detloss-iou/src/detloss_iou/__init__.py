"""The IoU family of box losses for detloss; a file a loss, all of them in network-input pixels.

`iou`, `giou`, `diou`, `ciou`, `eiou`, `focal_eiou`, `extended_eiou`, `siou`, `alpha_iou`, `wiou`, `mpdiou`,
`bounded_iou`, `shape_iou`, `piou`, `interpiou`, `sca`, `cdiou`, and the wrappers `inner`, `focaler` and `unified`.
"""
