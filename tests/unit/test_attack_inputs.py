"""What every attack refuses in one sentence, whatever else it is."""

import pytest
import torch
from small_networks import Function, predictions, problem, seeded
from torch import nn
from torch.nn import functional

from robustloss import attacks
from robustloss.attacks.parts import checks, network
from robustloss.code import plugins

BALL = {"epsilon": 0.1}
STEPS = BALL | {"step_size": 0.05, "steps": 2}
FGSM = {"name": "fgsm", **BALL}
# Of each attack's variants that look at a network in their own way, one.
ATTACKS = {
    "fgsm": FGSM,
    "bim": {"name": "bim", **STEPS},
    "pgd": {"name": "pgd", **STEPS, "random_start": True},
    "pgd stopping": {"name": "pgd", **STEPS, "stop_at_success": True},
    "pgd restarts": {"name": "pgd", **STEPS, "random_start": True, "restarts": 2},
    "pgd targeted": {"name": "pgd", **STEPS, "target": 2},
    "mim": {"name": "mim", **STEPS},
    "sai_fgsm": {"name": "sai_fgsm", **STEPS, "smallest_step": 0.01},
    "sign_unprojected": {"name": "sign_unprojected", "epsilon": 0.1, "steps": 2},
    "multi_targeted": {"name": "multi_targeted", **STEPS},
    "apgd": {"name": "apgd", **BALL, "steps": 2},
    "fab": {"name": "fab", **BALL, "steps": 2},
    "square": {"name": "square", **BALL, "queries": 5},
    "autoattack": {"name": "autoattack", **BALL, "steps": 2, "queries": 5},
    "jsma": {"name": "jsma", "gamma": 0.5},
    "spsa": {"name": "spsa", **STEPS, "samples": 2},
    "carlini_wagner": {"name": "carlini_wagner", "steps": 2, "search_steps": 1},
    "deepfool": {"name": "deepfool", "steps": 2},
    "ddn": {"name": "ddn", "steps": 2},
    "simba": {"name": "simba", "step": 0.1, "queries": 5},
    "noise": {"name": "noise", "sigma": 0.1},
    "noise draws": {"name": "noise", **BALL, "draws": 3},
    "rotation": {"name": "rotation", "largest": 10},
    "transfer": {"name": "transfer", "attack": FGSM},
    "expectation": {"name": "expectation", "draws": 2, "attack": FGSM},
    "worst_case": {"name": "worst_case", "attacks": [FGSM]},
}
CLASSES = 4


def draw(count=10, side=6):
    return torch.rand(count, 1, side, side, generator=seeded(1)), torch.arange(count) % CLASSES


def logits(images):
    """Smooth, of all four classes, and neither all of one sign nor of one sum."""
    return 6 * images.flatten(1)[:, :CLASSES] - 3


def refused(name, model, images, labels, **changed):
    spec = ATTACKS[name] | changed
    if name == "transfer":
        spec["source"] = Function(logits)
    return problem(attacks.run, spec, model, images, labels, seeded())


class Counting(nn.Module):
    """Refuses to be asked: what is wrong must be seen before."""

    def forward(self, images):
        raise AssertionError("the network was asked")


@pytest.mark.parametrize("name", ATTACKS)
def test_bad_inputs_are_refused_before_the_network_is_asked(name):
    images, labels = draw()
    asked = Counting().eval()
    assert "divide pixels by 255" in refused(name, asked, 255 * images, labels)
    assert "images must be" in refused(name, asked, images[:0], labels[:0])
    assert "labels must be int64" in refused(name, asked, images, labels.int())
    assert "count classes from 0" in refused(name, asked, images, labels - 1)
    assert "in training mode" in refused(name, asked.train(), images, labels)


@pytest.mark.parametrize("name", ATTACKS)
def test_a_network_with_a_part_in_training_mode_is_refused(name):
    body = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(36, CLASSES)).eval()
    body[0].train()
    before = body[0].running_mean.clone()
    assert "in training mode" in refused(name, body, *draw())
    assert torch.equal(body[0].running_mean, before)


@pytest.mark.parametrize("name", ATTACKS)
def test_a_network_that_gives_no_logits_is_refused(name):
    images, labels = draw()
    outputs = {
        "probabilities": lambda images: logits(images).softmax(1),
        "NaN or infinite": lambda images: logits(images) * float("nan"),
        "must return logits (": lambda images: logits(images).sum(1),
        "not tuple": lambda images: (logits(images),),
        "is not one of the network's 3 classes": lambda images: logits(images)[:, :3],
    }
    for sentence, output in outputs.items():
        assert sentence in refused(name, Function(output), images, labels)
    single = Function(lambda images: logits(images)[:, :1])
    target = {"target": "second"} if name == "pgd targeted" else {}
    assert "a single class" in refused(name, single, images, 0 * labels, **target)


def test_what_only_looks_like_probabilities_is_attacked():
    """Not negative, or with the sum of 1, or both on one image."""
    images, labels = draw()
    positive = Function(lambda images: logits(images) + 3)
    summing = Function(lambda images: (found := logits(images)) - (found.sum(1, keepdim=True) - 1) / CLASSES)

    def once(images):
        found = logits(images)
        return torch.cat([found[:1].softmax(1), found[1:]])

    for model in (positive, summing, Function(once)):
        for name in ("fgsm", "apgd", "square"):
            attacks.run(ATTACKS[name], model, images, labels, seeded())


@pytest.mark.parametrize("name", ["pgd", "mim", "spsa", "jsma", "sign_unprojected"])
def test_a_target_that_is_every_label_is_refused_and_else_its_images_stay(name):
    images, labels = draw()
    weight = torch.randn(36, CLASSES, generator=seeded(3))
    model = Function(lambda images: (images - 0.5).flatten(1) @ weight)
    labels = model(images).argmax(1)
    target = labels[0].item()
    alike = labels == target
    assert 1 < alike.sum() < len(labels)
    sentence = f"the target {target} is the label of every image"
    assert sentence in refused(name, model, images[alike], labels[alike], target=target)
    found = attacks.run(ATTACKS[name] | {"target": target}, model, images, labels, seeded())
    assert torch.equal(found.images[alike], images[alike])
    assert not torch.equal(found.images[~alike], images[~alike])


@pytest.mark.parametrize(
    ("name", "changed", "sentence"),
    [
        ("pgd", {"epsilon": "8/255"}, "epsilon is a number, such as 8/255 without quotes, not '8/255'"),
        ("pgd", {"epsilon": None}, "epsilon is a number, such as 8/255 without quotes, not None"),
        ("pgd", {"epsilon": True}, "epsilon is a number"),
        ("pgd", {"step_size": "1"}, "step_size is a number"),
        ("pgd", {"epsilon": "1", "norm": "l2"}, "epsilon is a number"),
        ("pgd", {"steps": 2.5}, "steps is a whole number from 1, not 2.5"),
        ("pgd", {"restarts": "2"}, "restarts is a whole number from 1, not '2'"),
        ("mim", {"decay": None}, "decay is a number"),
        ("mim", {"steps": True}, "steps is a whole number from 1, not True"),
        ("sai_fgsm", {"smallest_step": "1"}, "smallest_step is a number"),
        ("sign_unprojected", {"epsilon": None}, "epsilon is a number"),
        ("multi_targeted", {"targets": 2.0}, "targets is a whole number from 1, not 2.0"),
        ("multi_targeted", {"epsilon": "1"}, "epsilon is a number"),
        ("apgd", {"epsilon": None}, "epsilon is a number"),
        (
            "apgd",
            {"epsilon": 8, "norm": "l2"},
            "epsilon is an L2 norm of images in [0, 1], which here differ by at most 6",
        ),
        (
            "fab",
            {"epsilon": 8, "norm": "l2"},
            "epsilon is an L2 norm of images in [0, 1], which here differ by at most 6",
        ),
        ("apgd", {"restarts": 1.5}, "restarts is a whole number from 1, not 1.5"),
        ("apgd", {"rho": "1"}, "rho is a number"),
        ("fab", {"epsilon": "8/255"}, "epsilon is a number"),
        ("fab", {"eta": None}, "eta is a number"),
        ("square", {"epsilon": None}, "epsilon is a number"),
        ("square", {"queries": 7.0}, "queries is a whole number from 1, not 7.0"),
        ("autoattack", {"epsilon": "8/255"}, "epsilon is a number"),
        ("autoattack", {"steps": None}, "steps is a whole number from 1, not None"),
        ("autoattack", {"targets": 50}, "targets is from 1 to 3, as many as there are wrong classes, not 50"),
        ("jsma", {"theta": "1"}, "theta is a number"),
        ("spsa", {"delta": None}, "delta is a number"),
        ("spsa", {"samples": 0.5}, "samples is a whole number from 1, not 0.5"),
        ("noise", {"sigma": 50}, "sigma is a fraction of the pixel range, above 0 and at most 1, not 50"),
        ("noise", {"sigma": "a"}, "sigma is a number"),
        ("noise", {"draws": 1.5}, "draws is a whole number from 1, not 1.5"),
        ("noise draws", {"epsilon": 8}, "epsilon is a fraction of the pixel range: write 8/255, not 8"),
        ("rotation", {"largest": "30"}, "largest is a number"),
        ("rotation", {"draws": None}, "draws is a whole number from 1, not None"),
        ("expectation", {"draws": 2.0}, "draws is a whole number from 1, not 2.0"),
    ],
)
def test_settings_of_the_wrong_kind_are_refused(name, changed, sentence):
    assert sentence in refused(name, Function(logits), *draw(), **changed)


def test_whether_probabilities_are_probabilities():
    found = logits(draw()[0])
    assert checks.are_probabilities(found.softmax(1))
    assert checks.are_probabilities(torch.tensor([[1.0, 0.0], [0.25, 0.75]]))
    assert not checks.are_probabilities(found.log_softmax(1))
    assert not checks.are_probabilities(torch.tensor([[1.0, 0.0], [0.5, 0.6]]))
    assert not checks.are_probabilities(torch.tensor([[1.5, -0.5]]))


def test_a_network_that_is_not_asked_is_probed_with_few_images():
    model = Function(logits)
    network.probe(model, draw(40)[0], 3)
    assert model.asked == network.FEW


# Whatever has a ball, in both norms, and what only keeps to images.
BALLS = {name: (spec, torch.inf, 0.1) for name, spec in ATTACKS.items() if spec.get("epsilon") == 0.1}
BALLS |= {
    "fab without a ball": ({"name": "fab", "steps": 5}, torch.inf, 1),
    "pgd l2": ({"name": "pgd", **STEPS, "norm": "l2", "epsilon": 0.3, "random_start": True, "restarts": 3}, 2, 0.3),
    "apgd l2": ({"name": "apgd", "norm": "l2", "epsilon": 0.3, "steps": 10, "restarts": 2}, 2, 0.3),
    "apgd targeted": ({"name": "apgd", **BALL, "steps": 10, "targets": 3, "loss": "dlr"}, torch.inf, 0.1),
    "fab l2": ({"name": "fab", "norm": "l2", "epsilon": 0.3, "steps": 5, "restarts": 2}, 2, 0.3),
    "transfer": ({"name": "transfer", "attack": FGSM}, torch.inf, 0.1),
    "expectation": ({"name": "expectation", "draws": 2, "attack": FGSM}, torch.inf, 0.1),
    "worst_case": (
        {"name": "worst_case", **BALL, "attacks": [FGSM, {"name": "square", "queries": 20}]},
        torch.inf,
        0.1,
    ),
    "noise": (ATTACKS["noise"], torch.inf, 1),
    "rotation": (ATTACKS["rotation"], torch.inf, 1),
    "jsma": (ATTACKS["jsma"], torch.inf, 1),
    "simba": ({"name": "simba", "step": 0.2, "queries": 50}, torch.inf, 1),
    "simba dct": ({"name": "simba", "step": 0.2, "queries": 50, "basis": "dct"}, torch.inf, 1),
    "deepfool": ({"name": "deepfool"}, torch.inf, 1),
    "ddn": ({"name": "ddn", "steps": 20}, torch.inf, 1),
    "carlini_wagner": ({"name": "carlini_wagner", "steps": 20, "search_steps": 2}, torch.inf, 1),
}
# It has steps of half its epsilon, and no ball.
BALLS["sign_unprojected"] = (ATTACKS["sign_unprojected"], torch.inf, 2 * 0.1 / 2)


def test_every_attack_is_held_to_its_ball():
    assert {spec["name"] for spec, _, _ in BALLS.values()} == set(plugins("attacks"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", BALLS)
def test_adversarial_images_are_images_and_in_the_ball(name, dtype):
    spec, order, radius = BALLS[name]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 32), nn.ReLU(), nn.Linear(32, CLASSES)).to(dtype).eval()
    # A third of the values are at each end of [0, 1], where the ball is cut.
    images = (3 * torch.rand(40, 1, 6, 6, generator=seeded(1), dtype=dtype) - 1).clamp(0, 1)
    labels = (predictions(model, images) + (torch.arange(40) < 4)) % CLASSES
    before = images.clone()
    if name == "transfer":
        spec = spec | {"source": Function(lambda x: model(0.5 + (x - 0.5) / 2))}
    found = attacks.run(spec, model, images, labels, seeded()).images
    assert torch.equal(images, before)
    assert found.dtype == dtype
    assert found.shape == images.shape
    assert not found.requires_grad
    assert found.min() >= 0
    assert found.max() <= 1
    assert (found - images).any()
    assert (found - images).flatten(1).norm(p=order, dim=1).max() <= radius + 1e-6


@pytest.mark.parametrize("name", ["fgsm", "bim", "pgd", "mim", "sai_fgsm"])
def test_looking_at_the_outputs_costs_no_pass(name):
    """They are called for every batch of adversarial training."""
    model, (images, labels) = Function(logits), draw()
    attacks.run(
        ATTACKS[name] | ({} if name != "sai_fgsm" else {"stop_at_boundary": False}), model, images, labels, seeded()
    )
    assert model.asked == len(images) * ATTACKS[name].get("steps", 1)


@pytest.mark.parametrize("name", ["pgd", "apgd", "square", "noise draws", "expectation", "worst_case"])
def test_a_network_that_is_random_by_its_own_code_is_attacked(name):
    torch.manual_seed(0)
    model = Function(lambda images: functional.dropout(logits(images), 0.3, training=True))
    found = attacks.run(ATTACKS[name], model, *draw(), seeded())
    assert found.images.shape == draw()[0].shape
