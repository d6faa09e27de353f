from .reference import warp_blend_reference, warp_reference


def warp(image, flow, *, backend=None):
    return warp_reference(image, flow)


def warp_blend(image0, image1, flow0, flow1, occ0, occ1, *, backend=None):
    return warp_blend_reference(image0, image1, flow0, flow1, occ0, occ1)
