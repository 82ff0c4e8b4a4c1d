"""Projected gradient descent towards one wrong class after another (Gowal et al. 2019)."""

import torch

from robustloss.attacks.parts import attempts, checks, gradients, margins, network
from robustloss.attacks.parts.ascent import Ascent, misclassified
from robustloss.attacks.parts.balls import Linf
from robustloss.attacks.parts.perturbed import Perturbed


def perturb(
    model: torch.nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    generator: torch.Generator,
    *,
    epsilon: float,
    step_size: float,
    steps: int,
    targets: int | None = None,
    restarts: int = 1,
) -> Perturbed:
    """Adversarial images in the Linf ball: sign steps up z_t - z_y for each of the most likely wrong classes t.

    These are `targets` by the clean logits, None all K - 1. Each is climbed from `restarts` points that are uniform in
    the ball of `epsilon`, in `steps` steps of `step_size` (both fractions of the pixel range). A sample keeps its first
    iterate that is misclassified, as whatever class, and leaves the batch; one that is never broken keeps the end of
    the largest margin. On the head `max_mahalanobis` this is the pairwise adaptive attack of pang2020 over all wrong
    classes. Raises Problem for settings or inputs out of range, and for logits or gradients that are not finite.
    """
    checks.check_sizes(epsilon, step_size)
    checks.check_whole(steps=steps, restarts=restarts, **({} if targets is None else {"targets": targets}))
    highest = checks.check_inputs(model, images, labels)
    clean = network.clean(model, images, highest)
    ranked = margins.likeliest(clean, labels, targets)
    ascent = Ascent(model, gradients.choose("margin"), steps, step_size, highest, misclassified)
    ball = Linf.around(images, epsilon)

    def tries():
        for aims in ranked.unbind(1):
            for _ in range(restarts):
                # Numbers for samples that have left as well, so that the others' do not depend on them.
                uniform = torch.rand(images.shape, generator=generator, dtype=images.dtype, device=generator.device)
                yield ascent.attempt(ball, ball.start(uniform), labels, aims)

    def judge(logits, rows):
        return misclassified(logits, labels[rows], None), gradients.margin_value(logits, labels[rows])

    found = attempts.worst(model, images, tries(), judge, highest, leave=True)
    return found._replace(queries=found.queries + 1)
