"""The signs of gradient masking: when each is flagged, whose it is, and what it says."""

from typing import NamedTuple


class Rule(NamedTuple):
    """A sign is flagged above `threshold`. `sentence` is filled in from its evidence; `cause` is what a flag says."""

    threshold: float
    source: str
    sentence: str
    cause: str


ATHALYE, CARLINI, PINTOR = "Athalye et al. 2018", "Carlini et al. 2019", "Pintor et al. 2022"
AUTOATTACK, DISTILLATION = "Croce and Hein 2020", "Carlini and Wagner 2016"

# Thresholds are shares of the audited images, but that of `half`, a share above chance, of `randomness`, a distance of
# outputs of norm 1, and of `unstable`, a share of the margin. docs/audit.md says where they come from.
RULES = {
    "one_step": Rule(
        0.005,
        f"{ATHALYE}; {CARLINI}",
        "one step breaks {count} of {images} images that withstand the iterative attack",
        "its gradients mislead whoever follows them beyond a step",
    ),
    "noise": Rule(
        0.0,
        CARLINI,
        "random corners of the ball break {count} of {images} images that withstand the attack by gradients",
        "its gradients do not lead where chance leads",
    ),
    "queries": Rule(
        0.005,
        f"{ATHALYE}; {CARLINI}",
        "an attack by queries breaks {count} of {images} images that withstand the attack by gradients",
        "its outputs show what its gradients hide",
    ),
    "queries_alone": Rule(
        0.002,
        AUTOATTACK,
        "an attack by queries breaks {count} of {images} images that withstand all attacks by gradients, up any loss",
        "its outputs show what its gradients hide",
    ),
    "decisions": Rule(
        0.005,
        CARLINI,
        "an attack by predictions alone breaks {count} of {images} images that withstand the attack by gradients",
        "its predictions show what its gradients hide",
    ),
    "radius": Rule(
        0.005,
        CARLINI,
        "{count} of {images} images are broken within a radius and withstand a larger one",
        "its gradients lead past examples that are near",
    ),
    "half": Rule(
        0.0,
        CARLINI,
        "within a radius of 0.5, where all images can turn grey, {withstand} of {images} images withstand, but one "
        "answer for all is right on {constant}",
        "its gradients miss examples that must exist",
    ),
    "unbounded": Rule(
        0.0,
        f"{ATHALYE}; {CARLINI}; {PINTOR}",
        "{count} of {images} images withstand an attack that may change everything",
        "its gradients miss examples that must exist",
    ),
    "steps": Rule(
        0.01,
        CARLINI,
        "twice the steps break {count} of {images} images that withstand the attack",
        "the attack takes too few steps",
    ),
    "step_size": Rule(
        0.01,
        CARLINI,
        "steps of another size break {count} of {images} images that withstand the attack",
        "the attack's steps are of the wrong size",
    ),
    "restarts": Rule(
        0.01,
        CARLINI,
        "twice the restarts break {count} of {images} images that withstand the attack",
        "what the attack finds depends on where it starts",
    ),
    "unavailable": Rule(
        0.0,
        PINTOR,
        "no gradient reaches {count} of {images} images from their logits",
        "its gradients are unavailable",
    ),
    "inner_gradients": Rule(
        0.0,
        AUTOATTACK,
        "the forward pass itself computes gradients, for {count} of {images} images",
        "its forward pass computes gradients, which an attack does not see through",
    ),
    "zero_gradient": Rule(
        0.0,
        f"{PINTOR}; {AUTOATTACK}",
        "the gradient of cross-entropy is exactly zero on {count} of {images} images",
        "its gradients are zero",
    ),
    "saturation": Rule(
        0.01,
        DISTILLATION,
        "1 - p_y rounds to 0 on {saturated} of {images} images, and gradients that are rounded less break {count} more",
        "its gradients vanish in floating point",
    ),
    "scale": Rule(
        0.01,
        DISTILLATION,
        "multiplying the logits by a number, which changes no prediction, breaks {count} more of {images} images",
        "the scale of its logits misleads the attack",
    ),
    "silent_success": Rule(
        0.01,
        PINTOR,
        "on {count} of {images} images an iterate is misclassified, but the last one is not",
        "the attack walks past examples that it has found",
    ),
    "no_rise": Rule(
        0.01,
        CARLINI,
        "on {count} of {images} images that withstand it the attack's loss ends no higher than it starts",
        "its gradients do not lead up the loss that they are of",
    ),
    "unfinished": Rule(
        0.05,
        PINTOR,
        "on {count} of {images} images that withstand it the attack's loss still rises at the end",
        "the attack is not finished",
    ),
    "randomness": Rule(
        1e-4,
        f"{ATHALYE}; {AUTOATTACK}",
        "five passes give different outputs on {count} of {images} images",
        "its outputs are random, so that an attack has to average over them",
    ),
    "unstable": Rule(
        0.5,
        PINTOR,
        "points around them change the margin of {count} of {images} images by more than half",
        "its outputs change so much from point to point that a gradient says little",
    ),
    "probabilities": Rule(
        0.01,
        AUTOATTACK,
        "on {count} of {images} images the outputs are not negative and sum to 1, as probabilities do",
        "its outputs are probabilities, which flatten the loss that is computed from them",
    ),
    "transfer": Rule(
        0.01,
        f"{ATHALYE}; {CARLINI}; {PINTOR}",
        "another network's adversarial examples break {count} of {images} images that withstand the attack",
        "another network's gradients serve better than its own",
    ),
}
