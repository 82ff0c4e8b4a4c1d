"""Sign steps without a ball, as in the code that is very probably song2022's own: to replicate its tables only."""

import torch

from robustloss.attacks.parts import checks, gradients, network, targets
from robustloss.attacks.parts.ascent import Ascent
from robustloss.attacks.parts.balls import Linf
from robustloss.attacks.parts.perturbed import Perturbed
from robustloss.errors import Problem


def perturb(
    model: torch.nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    generator: torch.Generator,
    *,
    epsilon: float,
    steps: int,
    loss: str | list = "cross_entropy",
    target: str | int | None = None,
) -> Perturbed:
    """For replication only: `steps` times x <- clip(x + epsilon / 2 × sign(grad_x L(x, p))).

    p is the network's own prediction of the clean image; `labels` have no part. Nothing projects onto a ball, so that
    the images differ by up to steps × epsilon / 2 in each value, and a robust accuracy under this attack belongs to no
    radius. `epsilon` is the length of one step on that paper's scale of [-1, 1], hence half of it on [0, 1]; what the
    paper calls L2 divides the gradient by its norm before the sign is taken, which changes nothing. The paper's
    targeted attack has `target` "least_likely"; `loss` and `target` are as in `pgd`. Nothing is random but the target
    "random". Raises Problem for settings or inputs out of range, and for logits or gradients that are not finite.
    """
    checks.check_numbers(epsilon=epsilon)
    if not 0 < epsilon <= 2:
        raise Problem(f"attack: epsilon is a step on the scale of [-1, 1], above 0 and at most 2, not {epsilon}")
    checks.check_steps(steps)
    targets.check(target)
    climbed = gradients.choose(loss, target)
    highest = targets.highest(target, checks.check_inputs(model, images, labels))
    predicted = network.clean(model, images, highest).argmax(1)
    towards = targets.query(target, model, images, predicted, generator, highest)
    everywhere = Linf.around(images, 1)
    found = Ascent(model, climbed, steps, epsilon / 2, highest).climb(everywhere, images, predicted, towards)
    return targets.finish(found._replace(queries=found.queries + 1), images, predicted, towards)
