"""Adversarial training as a recipe, augmentation and optimisers: equal to the loops that everybody writes."""

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from robustloss import attacks, models, training
from robustloss.checkpoints import weights_path
from robustloss.errors import Problem

CROSS_ENTROPY = [{"loss": "cross_entropy", "weight": 1}]
HALF = [{"loss": "cross_entropy", "weight": 0.5}]
EPSILON, STEP, STEPS = 0.1, 0.04, 3
PGD = {"name": "pgd", "epsilon": EPSILON, "step_size": STEP, "steps": STEPS}


def trained(directory, data, spec) -> dict[str, torch.Tensor]:
    training.train(spec, data, directory, "cpu")
    return load_file(weights_path(directory, spec["epochs"]))


def start(spec, data):
    torch.manual_seed(spec["seed"])
    return models.build(spec["model"], len(data.classes), data.image_shape).to(memory_format=torch.channels_last)


def plain_loop(spec, data, optimizer, loss, model) -> dict[str, torch.Tensor]:
    """`loss(model, images, labels)` of each batch, minimised by a torch optimiser, and nothing of ours."""
    images = torch.from_numpy(data.images("train").copy()).permute(0, 3, 1, 2) / 255
    labels = torch.from_numpy(data.labels("train").copy())
    for epoch in range(1, spec["epochs"] + 1):
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(spec["seed"] * 1_000_003 + epoch))
        for rows in order.split(spec["batch_size"]):
            value = loss(model, images[rows], labels[rows])
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
    return model.state_dict()


def textbook_pgd(model, images, labels, loss=F.cross_entropy, share=1.0, noise=None, step=STEP, steps=STEPS):
    """Madry et al.'s inner loop on the network with running statistics, from images moved by `noise` in [-1, 1]."""
    model.eval()
    adversarial = images.clone() if noise is None else (images + EPSILON * noise.view_as(images)).clamp(0, 1)
    for _ in range(steps):
        adversarial.requires_grad_()
        (gradient,) = torch.autograd.grad(loss(model(adversarial), labels), adversarial)
        adversarial = adversarial.detach() + share * step * gradient.sign()
        adversarial = adversarial.clamp(images - share * EPSILON, images + share * EPSILON).clamp(0, 1)
    model.train()
    return adversarial


def noises(spec, images=96, values=8 * 8 * 3):
    """The numbers in [-1, 1] that each batch of a training starts from: a generator an epoch, seeded like its order."""
    for epoch in range(1, spec["epochs"] + 1):
        generator = torch.Generator().manual_seed(spec["seed"] * 1_000_003 + epoch)
        for _ in range(images // spec["batch_size"]):
            yield 2 * torch.rand(spec["batch_size"], values, generator=generator) - 1


def assert_equal(found: dict, expected: dict) -> None:
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-4)


@pytest.fixture
def spec(spec):
    return spec | {"schedule": {"name": "constant", "rate": 0.05}, "epochs": 2}


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


def test_pgd_training_is_the_textbook_s(tmp_path, bars, spec):
    found = trained(tmp_path / "run", bars, spec | {"perturbation": PGD})
    model = start(spec, bars)

    def loss(model, images, labels):
        return F.cross_entropy(model(textbook_pgd(model, images, labels)), labels)

    assert_equal(found, plain_loop(spec, bars, sgd(model), loss, model))


@pytest.mark.parametrize(("step", "steps"), [(STEP, STEPS), (1.25 * EPSILON, 1)], ids=["pgd", "one step"])
def test_training_from_a_random_start_is_the_textbook_s(tmp_path, bars, spec, step, steps):
    """Given the same starts; with one step of 1.25 epsilon the cheap variant (Wong, Rice and Kolter 2020)."""
    perturbation = PGD | {"step_size": step, "steps": steps, "random_start": True}
    found = trained(tmp_path / "run", bars, spec | {"perturbation": perturbation})
    model, drawn = start(spec, bars), noises(spec)

    def loss(model, images, labels):
        adversarial = textbook_pgd(model, images, labels, noise=next(drawn), step=step, steps=steps)
        return F.cross_entropy(model(adversarial), labels)

    assert_equal(found, plain_loop(spec, bars, sgd(model), loss, model))
    still = trained(tmp_path / "still", bars, spec | {"perturbation": perturbation | {"random_start": False}})
    assert any((found[name] - still[name]).abs().max() > 1e-2 for name in found)


def test_adaptive_adversaries_of_mmc_go_away_from_the_centre(tmp_path, bars, spec):
    """Up ||z - mu_y||² (pang2020), where cross-entropy on the same distances has another direction."""
    head = {"name": "max_mahalanobis", "dimension": 5, "scale": 2}
    spec |= {"model": spec["model"] | {"head": head}, "objective": [{"loss": "mmc", "weight": 2}]}
    spec |= {"schedule": {"name": "constant", "rate": 0.01}}
    found = trained(tmp_path / "run", bars, spec | {"perturbation": PGD | {"loss": "true_logit"}})
    model = start(spec, bars)

    def distance(logits, labels):
        return -logits.gather(1, labels[:, None]).sum()

    def loss(model, images, labels):
        features = model.features(textbook_pgd(model, images, labels, loss=distance))
        return (features - model.head.centres[labels]).square().sum(1).mean()

    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    assert_equal(found, plain_loop(spec, bars, optimizer, loss, model))
    saturating = trained(tmp_path / "ce", bars, spec | {"perturbation": PGD})
    assert any((found[name] - saturating[name]).abs().max() > 1e-2 for name in found)


def test_adversaries_warm_up_linearly(tmp_path, bars, spec):
    """Radius and step grow with each batch and are whole at the end of the second epoch."""
    spec |= {"epochs": 3}
    found = trained(tmp_path / "run", bars, spec | {"perturbation": PGD, "warm_up": 2})
    model = start(spec, bars)
    batches = -(-len(bars.labels("train")) // spec["batch_size"])
    shares = iter([*torch.linspace(0, 1, 2 * batches + 1)[1:].tolist(), *[1.0] * batches])

    def loss(model, images, labels):
        return F.cross_entropy(model(textbook_pgd(model, images, labels, share=next(shares))), labels)

    expected = plain_loop(spec, bars, sgd(model), loss, model)
    assert_equal(found, expected)
    at_once = trained(tmp_path / "at-once", bars, spec | {"perturbation": PGD})
    assert any((found[name] - at_once[name]).abs().max() > 1e-2 for name in expected)


def test_adaptive_steps_warm_up_with_their_smallest_one(tmp_path, bars, spec):
    """Else the first steps would be smaller than the smallest."""
    borderline = {"name": "sai_fgsm", "epsilon": 0.1, "step_size": 0.02, "smallest_step": 0.015, "steps": 2}
    assert trained(tmp_path / "run", bars, spec | {"perturbation": borderline, "warm_up": 2})


def entropy(logits, labels):
    return -(logits.softmax(1) * logits.log_softmax(1)).sum()


INNER = {"cross_entropy": ({}, F.cross_entropy), "entropy": ({"loss": [{"loss": "entropy", "weight": 1}]}, entropy)}


@pytest.mark.parametrize("inner", INNER)
def test_inner_and_outer_loss_are_chosen_separately(tmp_path, bars, spec, inner):
    """GCE outside; inside cross-entropy, as in chen2019's adversarial training, or entropy."""
    gce = [{"loss": "gce", "weight": 1, "alpha": 0.5}]
    settings, climbed = INNER[inner]
    found = trained(tmp_path / "run", bars, spec | {"objective": gce, "perturbation": PGD | settings})
    model = start(spec, bars)

    def loss(model, images, labels):
        logits = model(textbook_pgd(model, images, labels, loss=climbed))
        p = logits.softmax(1)
        truth = p.gather(1, labels[:, None])[:, 0]
        q = torch.stack([torch.cat([row[:y], row[y + 1 :]]) for row, y in zip(p, labels, strict=True)])
        q = q / q.sum(1, keepdim=True)
        return (truth**0.5 * (q * q.log()).sum(1)).mean() / torch.tensor(2.0).log()

    assert_equal(found, plain_loop(spec, bars, sgd(model), loss, model))


def test_clean_images_share_the_forward_pass(tmp_path, bars, spec):
    """0.5 L(clean) + 0.5 (L - L^f)(perturbed), batch normalisation over both together (ding2025, Table 5)."""
    false = [{"loss": "cross_entropy", "weight": 0.5}, {"loss": "false_label", "weight": -0.5}]
    found = trained(tmp_path / "run", bars, spec | {"objective": false, "clean": HALF, "perturbation": PGD})
    model = start(spec, bars)

    def loss(model, images, labels):
        logits = model(torch.cat([images, textbook_pgd(model, images, labels)]))
        clean, perturbed = logits[: len(images)], logits[len(images) :]
        predicted = perturbed.argmax(1)
        wrong = F.cross_entropy(perturbed, predicted, reduction="none") * (predicted != labels)
        values = F.cross_entropy(perturbed, labels, reduction="none") - wrong
        return 0.5 * F.cross_entropy(clean, labels) + 0.5 * values.mean()

    assert_equal(found, plain_loop(spec, bars, sgd(model), loss, model))


def test_the_cheap_variant_starts_at_random_and_differs_from_seed_to_seed(tmp_path, bars, spec):
    """One step from a random start (Wong, Rice and Kolter 2020): the same twice, another with another seed."""
    fast = {"name": "pgd", "epsilon": EPSILON, "step_size": 1.25 * EPSILON, "steps": 1, "random_start": True}
    spec |= {"perturbation": fast}
    first, again = (trained(tmp_path / name, bars, spec) for name in ("first", "again"))
    assert all(torch.equal(first[name], again[name]) for name in first)
    still = trained(tmp_path / "still", bars, spec | {"perturbation": fast | {"random_start": False}})
    assert any(not torch.equal(first[name], still[name]) for name in first)


@pytest.mark.parametrize("target", [None, "all_one", "entropy", "second", 1])
@pytest.mark.parametrize("tracker", ["rescale", "trigonometric", "probability", "constant"])
def test_borderline_training_runs_with_every_tracker_and_target(tmp_path, bars, spec, tracker, target):
    borderline = {"name": "sai_fgsm", "epsilon": 0.1, "step_size": 0.02, "smallest_step": 0.002, "steps": 5}
    borderline |= {"tracker": tracker, "boundary": "tie"} | ({} if target is None else {"target": target})
    spec |= {"objective": HALF, "clean": HALF, "perturbation": borderline, "epochs": 1}
    weights = trained(tmp_path / "run", bars, spec)
    assert all(tensor.isfinite().all() for tensor in weights.values())


def test_adversarial_training_makes_robust(tmp_path, bars, spec):
    """Where plain training leaves few samples, PGD training leaves most (Madry et al. 2018), under a longer attack."""
    images = torch.from_numpy(bars.images("test").copy()).permute(0, 3, 1, 2) / 255
    labels = torch.from_numpy(bars.labels("test").copy())
    strong = {"epsilon": 0.15, "step_size": 0.02, "steps": 20}

    def robust(name, changes):
        model = models.build(spec["model"], 3, bars.image_shape)
        model.load_state_dict(trained(tmp_path / name, bars, spec | {"epochs": 8} | changes))
        found = attacks.load("pgd")(model.eval(), images, labels, torch.Generator().manual_seed(0), **strong)
        return (model(found.images).argmax(1) == labels).double().mean().item()

    perturbation = {"name": "pgd", "epsilon": 0.15, "step_size": 0.05, "steps": 5, "random_start": True}
    assert robust("adversarial", {"perturbation": perturbation}) > robust("plain", {}) + 0.2


def test_adam_is_torch_s(tmp_path, bars, spec):
    spec |= {"optimizer": {"name": "adam", "betas": [0.8, 0.9]}, "schedule": {"name": "constant", "rate": 0.01}}
    model = start(spec, bars)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, betas=(0.8, 0.9), foreach=False)
    expected = plain_loop(spec, bars, optimizer, lambda model, x, y: F.cross_entropy(model(x), y), model)
    found = trained(tmp_path / "run", bars, spec)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=2e-2, atol=2e-3)


def test_only_convolutions_decay(tmp_path, bars, spec):
    """With a rate so small that the objective moves nothing, rate × decay shrinks what decays and nothing else."""
    spec |= {"epochs": 1, "schedule": {"name": "constant", "rate": 1e-6}}
    spec |= {"optimizer": {"name": "sgd", "momentum": 0, "weight_decay": 1e4, "decayed": "convolutions"}}
    before, after = start(spec, bars), trained(tmp_path / "run", bars, spec)
    convolutions = [name for name, tensor in before.state_dict().items() if tensor.ndim == 4]
    linear = [name for name, tensor in before.state_dict().items() if tensor.ndim == 2]
    assert convolutions and linear
    for name in convolutions:
        torch.testing.assert_close(after[name], before.state_dict()[name] * 0.99**6, rtol=1e-3, atol=1e-4)
    for name in linear:
        torch.testing.assert_close(after[name], before.state_dict()[name], rtol=1e-3, atol=1e-4)


def test_only_the_last_epoch_is_kept(tmp_path, bars, spec):
    training.train(spec | {"keep": "last"}, bars, tmp_path / "run", "cpu")
    assert [path.name for path in (tmp_path / "run/weights").iterdir()] == ["epoch-002.safetensors"]


def test_augmentation_changes_the_images_and_not_their_order(tmp_path, bars, spec):
    still = trained(tmp_path / "still", bars, spec | {"augmentation": {"shift": 0, "fill": "zero", "flip": False}})
    plain = trained(tmp_path / "plain", bars, spec)
    moved = trained(tmp_path / "moved", bars, spec | {"augmentation": {"shift": 2, "fill": "nearest", "flip": True}})
    assert all(torch.equal(plain[name], still[name]) for name in plain)
    assert any(not torch.equal(plain[name], moved[name]) for name in plain)


def test_a_pixel_mean_is_taken_from_the_training_images(tmp_path, bars, spec):
    spec |= {"model": spec["model"] | {"mean": "pixels"}, "epochs": 1}
    mean = torch.from_numpy(bars.images("train").copy()).double().mean(0).permute(2, 0, 1) / 255
    torch.testing.assert_close(trained(tmp_path / "run", bars, spec)["mean"][0].double(), mean, rtol=0, atol=1e-6)


def test_a_perturbation_with_an_unknown_setting_is_refused(tmp_path, bars, spec):
    with pytest.raises(Problem, match="perturbation pgd: unknown key 'step'; did you mean 'steps'"):
        training.train(spec | {"perturbation": PGD | {"step": 3}}, bars, tmp_path / "run", "cpu")


def test_an_unknown_optimizer_is_refused(tmp_path, bars, spec):
    with pytest.raises(Problem, match="there is no 'rmsprop'"):
        training.train(spec | {"optimizer": {"name": "rmsprop"}}, bars, tmp_path / "run", "cpu")
