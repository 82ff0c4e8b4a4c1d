"""Learning-rate schedules against torch's own and closed forms."""

import math

import pytest
import torch

from robustloss import schedules
from robustloss.errors import Problem


def torch_rates(scheduler, steps, **settings):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.01)
    schedule = scheduler(optimizer, **settings)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def rates(spec, steps, steps_per_epoch=1):
    return [schedules.rate({"rate": 0.01, **spec}, step, steps_per_epoch) for step in range(steps)]


def test_constant():
    assert rates({"name": "constant"}, 5) == [0.01] * 5


def test_inverse_time_is_torch_lambda_schedule_and_its_closed_form():
    found = rates({"name": "inverse-time", "decay": 0.01}, 300, steps_per_epoch=7)
    expected = torch_rates(torch.optim.lr_scheduler.LambdaLR, 300, lr_lambda=lambda step: 1 / (1 + 0.01 * step))
    assert found == pytest.approx(expected, rel=1e-12)
    assert found[100] == pytest.approx(0.005)  # halved after 1 / decay steps


def test_multistep_is_torch_multistep_counted_in_epochs():
    found = rates({"name": "multistep", "epochs": [2, 3, 6], "factor": 0.1}, 40, steps_per_epoch=5)
    expected = torch_rates(torch.optim.lr_scheduler.MultiStepLR, 40, milestones=[10, 15, 30], gamma=0.1)
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"name": "inverse_time", "rate": 1, "decay": 0.1}, "did you mean 'inverse-time'"),
        ({"rate": 1}, "no 'None'"),
        ({"name": "constant"}, "constant: the key 'rate' is missing"),
        ({"name": "inverse-time", "rate": 1, "dekay": 1}, "unknown key 'dekay'; did you mean 'decay'"),
        ({"name": "inverse-time", "rate": 1, "decay": -1}, "decay must be a finite number from 0"),
        ({"name": "constant", "rate": 0}, "rate must be a finite number above 0"),
        ({"name": "constant", "rate": math.inf}, "finite"),
        ({"name": "multistep", "rate": 1, "epochs": [0], "factor": 0.1}, "epochs are counted from 1"),
    ],
)
def test_bad_schedules_are_refused_in_one_sentence(spec, sentence):
    with pytest.raises(Problem, match=sentence):
        schedules.rate(spec, 0, 1)
