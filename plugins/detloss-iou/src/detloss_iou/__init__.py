"""The IoU family of box losses, one file each.

`iou`, `giou`, `diou`, `ciou`, `eiou`, `focal_eiou`, `extended_eiou`, `siou`, `alpha_iou`, `wiou`, `mpdiou`,
`bounded_iou`, `shape_iou`, `piou`, `interpiou`, `sca`, `cdiou`, and the wrappers `inner`, `focaler` and `unified`.
"""
