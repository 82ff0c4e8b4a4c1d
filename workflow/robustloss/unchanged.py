"""Changes of the library's source through which results keep their names, since no number of theirs changed.

A line belongs here once results that were published have been made again with the changed module, and were equal byte
for byte. It goes when the results that carry the old digest are published anew.
"""

# By module, digests of its source, and the one in the records of published results that each is taken for.
SAME = {
    # What CUDA computes is replayed as graphs; on a CPU the same operations run in the same order.
    "robustloss.models.frozen": {
        "2ad60ed94ce2b1d692bdf955f4177268b6dc24c45af6408e0488314430f343d9": (
            "8d1450f395789d5ff9823da3d9c9f62c8a62a2fffdad7cf889e559058b7fba0b"
        )
    },
    "robustloss.training": {
        "924725ffdf66cd51ad200ead26c6aaf2660076cb62aa3284389f461822e7a233": (
            "f7e0f6f6fe8776ace7e91570c45440a01c42a7ebd0272f0e4e2f1c466b0d6851"
        )
    },
    # The bounds of images and labels are asked for at once instead of one by one.
    "robustloss.attacks.parts.checks": {
        "9cafd7d1b0cccaa0a49b82c9c1a07fefa12416dfae0f5512bd4fd8896956c91f": (
            "475cec7f9ec73acc38fc8ac46269c653a1ddfa0f30c339a8dff8f97636ccbb09"
        )
    },
}


def taken_for(module: str, found: str) -> str:
    """The digest (hex) that names the results of `module`, whose source has the digest `found`."""
    return SAME.get(module, {}).get(found, found)
