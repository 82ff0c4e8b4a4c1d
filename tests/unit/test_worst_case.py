"""The ensemble: no weaker than any of its members, sample by sample, and honest about who broke what."""

import pytest
import torch
from torch import nn

from robustloss import attacks
from robustloss.attacks.parts.perturbed import fixed
from robustloss.errors import Problem

perturb = attacks.load("worst_case")
EPSILON = 0.1
PGD = {"name": "pgd", "epsilon": EPSILON, "step_size": 0.02, "steps": 10}
FGSM = {"name": "fgsm", "epsilon": EPSILON}
MARGIN = PGD | {"loss": "margin"}


def seeded():
    return torch.Generator().manual_seed(0)


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
