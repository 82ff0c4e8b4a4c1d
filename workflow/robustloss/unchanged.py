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
    # Several processes draw apart, the leading one as before.
    "robustloss.training": {
        "acabe4f36556dd59d1bd0129baec3cd102c48155dc8275dbf6281fd4c28e977b": (
            "f7e0f6f6fe8776ace7e91570c45440a01c42a7ebd0272f0e4e2f1c466b0d6851"
        )
    },
    # An attack's smallest step, which no published training warms up, grows with its others.
    "robustloss.recipes": {
        "c147dcc74f7bc249b6c7e9cf8833db5daa260aaf2b959c6b10465a8b8f239fdc": (
            "52f24eb8f789df55d603fcfe0e7df5379327eb0ae56762d5c280be9d5faeb7f6"
        )
    },
    # More images than an audit has had, and a radius of 1.
    "robustloss.audit.judgement": {
        "0eeba40be2e191533b0782f0469f0821b678abe28093b969c20a33e5e859412c": (
            "555197c120fa0a2666205aa028cb90bba3e34188e5164fdae14b957845f73e9e"
        )
    },
    "robustloss.audit.hard_label": {
        "ce00de6c6cd9e0fd6a60ccb1d6d408983fd864a2bd3f2df660a8150a1565334d": (
            "720c7fc3d91981f5cbeaa055b6f74d33c43c1822b5a6993eac119b0b0e39e844"
        )
    },
    # A test file of the first records may be missing where the whole file is there.
    "robustloss.data.cifar_records": {
        "5834393b7342b6d62ce3831da58d76c2c33a21d308632f89b70222d954e1b11b": (
            "986da7c2ad9d284bb8ff9f1359494b8c2807cbf3417af4953d5bc4db7f3b51d4"
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
