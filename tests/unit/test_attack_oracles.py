"""Attacks beside those of other libraries, at the same settings, on networks of all losses: ours is weaker than none.

The others are foolbox, ART and torchattacks; adversarial-library and cleverhans are no part of the locked peers.
torchattacks' C&W has no search for its constant, and its DeepFool stops short of the boundary, so neither is asked.
"""

import functools

import numpy as np
import pytest
import torch
from digit_networks import seeded
from loss_networks import KINDS, epsilon, right

from robustloss import attacks
from robustloss.attacks.jsma import OUTPUTS

foolbox = pytest.importorskip("foolbox")
torchattacks = pytest.importorskip("torchattacks")
evasion = pytest.importorskip("art.attacks.evasion")
estimators = pytest.importorskip("art.estimators.classification")

every_loss = pytest.mark.parametrize("kind", KINDS)
COUNT, STEPS = 200, 20


def ours(name, kind, count=COUNT, **settings):
    model, images, labels = right(kind, count)
    return attacks.load(name)(model, images, labels, seeded(), **settings).images


def from_foolbox(kind, name, count=COUNT, radius=None, **settings):
    model, images, labels = right(kind, count)
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    found = getattr(foolbox.attacks, name)(**settings)(wrapped, images, labels, epsilons=radius)[1]
    # Its C&W returns a black image where it finds none.
    return torch.where((found == 0).flatten(1).all(1).view(-1, 1, 1, 1), images, found)


def from_torchattacks(kind, name, count=COUNT, **settings):
    model, images, labels = right(kind, count)
    torch.manual_seed(0)
    return getattr(torchattacks, name)(model, **settings)(images, labels)


def from_art(kind, name, count=COUNT, aims=None, probabilities=False, **settings):
    """`aims` (N,) are the targets; without, the attack is untargeted."""
    model, images, labels = right(kind, count)
    body = torch.nn.Sequential(model, torch.nn.Softmax(1)).eval() if probabilities else model
    classifier = estimators.PyTorchClassifier(
        body, torch.nn.CrossEntropyLoss(), images.shape[1:], 10, clip_values=(0, 1), device_type="cpu"
    )
    np.random.seed(0)  # where it draws from
    attack = getattr(evasion, name)(classifier, **settings)
    ends = np.eye(10, dtype=np.float32)[(labels if aims is None else aims).numpy()]
    return torch.from_numpy(attack.generate(images.numpy().copy(), ends))


def still_right(kind, found):
    model, _, labels = right(kind, len(found))
    with torch.no_grad():
        return (model(found).argmax(1) == labels).double().mean().item()


def lengths(kind, found):
    """L2 norms of the perturbations that are misclassified; inf of the others."""
    model, images, labels = right(kind, len(found))
    with torch.no_grad():
        wrong = model(found).argmax(1) != labels
    return (found - images).flatten(1).norm(dim=1).masked_fill(~wrong, torch.inf)


def check_inside(kind, found, radius=1.0):
    assert found.min() >= 0
    assert found.max() <= 1
    assert (found - right(kind, len(found))[1]).abs().max() <= radius + 1e-6


def bounded_peers(kind, attack):
    """What others make of the images, from the images themselves in the ball of `epsilon`."""
    radius = epsilon(kind)
    size = radius / 5
    ta = functools.partial(from_torchattacks, kind, eps=radius)
    art = functools.partial(from_art, kind, eps=radius, batch_size=COUNT)
    if attack == "fgsm":
        return ta("FGSM"), art("FastGradientMethod"), from_foolbox(kind, "LinfFastGradientAttack", radius=radius)
    if attack == "mim":
        mim = art("MomentumIterativeMethod", eps_step=size, max_iter=STEPS, decay=1.0, verbose=False)
        return ta("MIFGSM", alpha=size, steps=STEPS, decay=1.0), mim
    return (
        ta("PGD", alpha=size, steps=STEPS, random_start=False),
        art("ProjectedGradientDescentPyTorch", eps_step=size, max_iter=STEPS, verbose=False),
        from_foolbox(kind, "LinfPGD", radius=radius, abs_stepsize=size, steps=STEPS, random_start=False),
    )


@every_loss
@pytest.mark.parametrize("attack", ["fgsm", "pgd", "mim"])
def test_sign_steps_leave_no_more_images_right(kind, attack):
    radius = epsilon(kind)
    steps = {} if attack == "fgsm" else {"step_size": radius / 5, "steps": STEPS}
    theirs = [still_right(kind, found) for found in bounded_peers(kind, attack)]
    assert 0.02 < min(theirs) < 0.98
    for loss in ("cross_entropy", "exact_cross_entropy"):
        found = ours(attack, kind, epsilon=radius, loss=loss, **steps)
        check_inside(kind, found, radius)
        assert still_right(kind, found) <= min(theirs) + 0.005 + 1e-9
    if attack == "pgd":
        stopped = ours("pgd", kind, epsilon=radius, stop_at_success=True, **steps)
        check_inside(kind, stopped, radius)
        assert still_right(kind, stopped) <= min(theirs)


def check_nearest(kind, found, theirs):
    """No less success and no larger median than the best of the others, over all images."""
    check_inside(kind, found)
    mine, others = lengths(kind, found), [lengths(kind, other) for other in theirs]
    assert mine.isinf().sum() <= min(other.isinf().sum() for other in others)
    assert mine.median() <= 1.02 * min(other.median() for other in others)


@every_loss
def test_deepfool_is_no_farther(kind):
    peers = (
        from_foolbox(kind, "L2DeepFoolAttack", steps=50, candidates=10, overshoot=0.02),
        from_art(kind, "DeepFool", max_iter=50, epsilon=0.02, nb_grads=10, batch_size=COUNT, verbose=False),
    )
    check_nearest(kind, ours("deepfool", kind, steps=50, overshoot=0.02), peers)


@every_loss
def test_carlini_wagner_is_no_farther(kind):
    count, search, steps, first, rate = 40, 5, 100, 0.01, 0.03
    peers = (
        from_foolbox(
            kind,
            "L2CarliniWagnerAttack",
            count,
            binary_search_steps=search,
            steps=steps,
            stepsize=rate,
            initial_const=first,
        ),
        # Each of its steps is a line search of several passes.
        from_art(
            kind,
            "CarliniL2Method",
            count,
            learning_rate=rate,
            binary_search_steps=search,
            max_iter=steps // 10,
            initial_const=first,
            batch_size=count,
            verbose=False,
        ),
    )
    found = ours("carlini_wagner", kind, count, steps=steps, search_steps=search, first_constant=first, rate=rate)
    check_nearest(kind, found, peers)


@every_loss
def test_fab_is_no_farther(kind):
    settings = {"norm": "L2", "eps": 10.0, "steps": 20, "n_classes": 10, "multi_targeted": True}
    found = ours("fab", kind, 100, norm="l2", steps=20)
    check_nearest(kind, found, [from_torchattacks(kind, "FAB", 100, **settings)])


@every_loss
def test_square_leaves_no_more_images_right(kind):
    radius, queries = epsilon(kind), 300
    peers = (
        from_torchattacks(kind, "Square", eps=radius, n_queries=queries, seed=0),
        from_art(kind, "SquareAttack", eps=radius, max_iter=queries, batch_size=COUNT, verbose=False),
    )
    found = ours("square", kind, epsilon=radius, queries=queries)
    check_inside(kind, found, radius)
    # All three draw at random.
    assert still_right(kind, found) <= min(still_right(kind, other) for other in peers) + 0.02


@every_loss
def test_simba_leaves_no_more_images_right(kind):
    pixels, count = 25, 60
    settings = {"attack": "px", "order": "random", "max_iter": pixels, "epsilon": 0.3, "freq_dim": 8, "verbose": False}
    theirs = from_art(kind, "SimBA", count, probabilities=True, **settings)
    found = ours("simba", kind, count, step=0.3, queries=2 * pixels + 1)
    check_inside(kind, found)
    assert still_right(kind, found) <= still_right(kind, theirs)


@every_loss
def test_jsma_reaches_as_many_targets(kind):
    """With as many features, 12: ART stops when the share of those that it changed exceeds gamma, one step later."""
    count, share = 60, 12 / 64
    model, images, labels = right(kind, count)
    aims = torch.zeros_like(labels)
    other = torchattacks.JSMA(model, theta=1.0, gamma=share)
    other.set_mode_targeted_by_function(lambda _, given: torch.zeros_like(given))
    settings = {"theta": 1.0, "gamma": 11 / 64, "batch_size": count, "verbose": False}
    pairwise, single = other(images, labels), from_art(kind, "SaliencyMapMethod", count, aims, **settings)

    def reached(found):
        check_inside(kind, found)
        assert ((found != images).flatten(1).sum(1) <= 12).all()
        with torch.no_grad():
            return (model(found).argmax(1) == aims).sum()

    mine = {name: reached(ours("jsma", kind, count, gamma=share, target=0, outputs=name)) for name in OUTPUTS}
    assert mine["logits"] >= reached(pairwise)
    assert mine["target_logit"] >= reached(single)
