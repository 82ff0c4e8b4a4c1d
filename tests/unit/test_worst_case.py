"""The ensemble: no weaker than any of its members, sample by sample, and honest about who broke what."""

import pytest
import torch
from small_networks import seeded
from torch import nn

from robustloss import attacks
from robustloss.attacks.parts import gradients
from robustloss.attacks.parts.perturbed import fixed
from robustloss.errors import Problem

perturb = attacks.load("worst_case")
EPSILON = 0.1
PGD = {"name": "pgd", "epsilon": EPSILON, "step_size": 0.02, "steps": 10}
FGSM = {"name": "fgsm", "epsilon": EPSILON}
MARGIN = PGD | {"loss": "margin"}


@pytest.fixture(scope="module")
def drawn():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 32), nn.ReLU(), nn.Linear(32, 6)).eval()
    images = torch.rand(300, 1, 6, 6, generator=seeded())
    labels = model(images).argmax(1)
    labels[:20] = (labels[:20] + 1) % 6
    return model, images, labels


def robust(model, images, labels):
    return model(images).argmax(1) == labels


def test_a_sample_is_robust_only_if_every_member_fails(drawn):
    model, images, labels = drawn
    members = [FGSM, PGD, MARGIN]
    alone = [
        attacks.load(member["name"])(
            model, images, labels, seeded(), **{key: value for key, value in member.items() if key != "name"}
        ).images
        for member in members
    ]
    expected = robust(model, images, labels)
    for found in alone:
        expected &= robust(model, found, labels)
    together = perturb(model, images, labels, seeded(), attacks=members)
    assert torch.equal(robust(model, together.images, labels), expected)
    assert 0 < expected.sum() < len(labels) - 20
    assert (together.images - images).abs().max() <= EPSILON + 1e-6


def test_it_says_which_attack_broke_a_sample(drawn):
    model, images, labels = drawn
    found = perturb(model, images, labels, seeded(), attacks=[FGSM, PGD])
    by_fgsm = ~robust(model, attacks.load("fgsm")(model, images, labels, seeded(), epsilon=EPSILON).images, labels)
    clean = robust(model, images, labels)
    assert torch.equal(found.broken_by == 0, by_fgsm & clean)
    assert (found.broken_by == 1).any()
    assert torch.equal((found.broken_by == -1) & clean, robust(model, found.images, labels))
    assert torch.equal(found.images[~clean], images[~clean])
    assert found.queries[found.broken_by == 0].max() < found.queries[found.broken_by == 1].min()


def test_members_without_an_epsilon_take_the_ensemble_s(drawn):
    pgd = {key: value for key, value in PGD.items() if key != "epsilon"}
    named = perturb(*drawn, seeded(), attacks=[PGD]).images
    assert torch.equal(perturb(*drawn, seeded(), attacks=[pgd], epsilon=EPSILON).images, named)
    assert torch.equal(perturb(*drawn, seeded(), attacks=[PGD], epsilon=0.5).images, named)


def test_later_attacks_see_only_what_is_left(drawn, monkeypatch):
    model, images, labels = drawn
    seen = []

    def counting(model, images, labels, generator, *, epsilon):
        seen.append(len(images))
        return fixed(images, 0, 0)

    left = int(robust(model, perturb(model, images, labels, seeded(), attacks=[PGD]).images, labels).sum())
    monkeypatch.setattr("robustloss.attacks.fgsm.perturb", counting)
    perturb(model, images, labels, seeded(), attacks=[PGD, FGSM])
    assert seen == [left]


def margins(model, images, labels):
    with torch.no_grad():
        return gradients.margin_value(model(images), labels)


def test_a_survivor_keeps_the_worst_image_that_any_member_made(drawn):
    """Also where later members, such as AutoAttack, leave what they cannot break as it is."""
    model, images, labels = drawn
    autoattack = {"name": "autoattack", "epsilon": 0.01, "steps": 2, "queries": 5}
    members = [FGSM | {"epsilon": 0.03}, MARGIN | {"epsilon": 0.02}, PGD | {"epsilon": 0.03}, autoattack]
    found = perturb(model, images, labels, seeded(), attacks=members)
    alone = [images, *(perturb(model, images, labels, seeded(), attacks=[member]).images for member in members)]
    reached = torch.stack([margins(model, tried, labels) for tried in alone])
    survives = (found.broken_by < 0) & robust(model, images, labels)
    assert survives.sum() > 20
    assert torch.equal(margins(model, found.images, labels)[survives], reached.amax(0)[survives])
    assert len(reached[1:, survives].argmax(0).unique()) > 1


def test_queries_count_the_passes_that_judge(drawn):
    model, images, labels = drawn
    asked = []
    listener = model.register_forward_pre_hook(lambda module, inputs: asked.append(len(inputs[0])))
    found = perturb(model, images[20:21], labels[20:21], seeded(), attacks=[{"name": "pgd", **PGD, "epsilon": 0.001}])
    listener.remove()
    # Less the two that show that the network is not random.
    assert found.queries.tolist() == [sum(asked) - 2]


def test_a_target_s_own_images_go_to_the_other_members(drawn):
    model, images, labels = drawn
    right = robust(model, images, labels)
    own = labels == labels[right][0]
    targeted = PGD | {"target": labels[right][0].item()}
    found = perturb(model, images[own], labels[own], seeded(), attacks=[targeted, PGD, targeted])
    assert (found.broken_by != 0).all()
    assert (found.broken_by == 1).any()
    assert torch.equal(
        found.broken_by == 1, perturb(*(model, images[own], labels[own]), seeded(), attacks=[PGD]).broken_by == 0
    )


class Flickering(nn.Module):
    """The logits of another network plus noise of twice their typical margin, another in each pass."""

    def __init__(self, body, seed=3):
        super().__init__()
        self.body, self.generator = body, torch.Generator().manual_seed(seed)
        self.eval()

    def forward(self, images):
        logits = self.body(images)
        return logits + 0.1 * torch.randn(logits.shape, generator=self.generator)


def test_one_lucky_answer_of_a_random_network_breaks_nothing(drawn):
    model, images, labels = drawn
    harmless = {"name": "noise", "sigma": 1e-6}
    flickering = Flickering(model)
    with torch.no_grad():
        lucky = flickering(images).argmax(1) != labels
    clear = robust(model, images, labels) & (margins(model, images, labels) < -0.08)
    assert (lucky & clear).sum() > 10
    found = perturb(flickering, images, labels, seeded(), attacks=[harmless] * 3, draws=300)
    assert (found.broken_by[clear] == -1).all()
    assert (found.queries[clear] == 4 * 300).all()
    # What is broken is so by the mean of the answers, and thus as if there were no noise.
    found = perturb(
        flickering, images, labels, seeded(), attacks=[{"name": "expectation", "draws": 20, "attack": PGD}], draws=100
    )
    broken = found.broken_by >= 0
    assert broken.sum() > 100
    assert (margins(model, found.images, labels)[broken] > -0.08).all()


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ([], "`attacks` is empty"),
        ([{"name": "pdg"}], "there is no 'pdg'; did you mean 'pgd'?"),
        ([FGSM | {"steps": 3}], "fgsm: unknown key 'steps'"),
        ([{"name": "worst_case", "attacks": [FGSM]}], "there is no 'worst_case'"),
    ],
)
def test_bad_members_are_refused(drawn, members, sentence):
    with pytest.raises(Problem, match="attack worst_case") as caught:
        perturb(*drawn, seeded(), attacks=members)
    assert sentence in str(caught.value)
