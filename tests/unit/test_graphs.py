"""What is replayed gives what it gives when it is computed; on a real card where there is one, else a pretended one."""

import copy

import pretended_cuda
import pretended_graphs
import pytest
import torch
from pretended_cuda import REAL
from torch import nn

from robustloss import graphs


@pytest.fixture(autouse=True)
def card():
    with pretended_cuda.card():
        yield


class Small(nn.Sequential):
    """A network of which a test may see how often its own code runs."""

    def __init__(self, *more: nn.Module) -> None:
        super().__init__(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3), *more)
        self.computed = 0

    def forward(self, images):
        self.computed += 1
        return super().forward(images)


class Asking(nn.Module):
    """A layer that waits for a number."""

    def forward(self, logits):
        return logits * (2 if bool(logits.sum() > 1e9) else 1)


def pair(*more: nn.Module) -> tuple[Small, Small]:
    """A frozen network that computes its passes, and one that replays them."""
    torch.manual_seed(0)
    plain = Small(*more).eval().requires_grad_(False).to("cuda")
    replaying = copy.deepcopy(plain)
    graphs.replay_passes(replaying)
    return plain, replaying


def images(seed: int, count: int = 5) -> torch.Tensor:
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed)).to("cuda")


def leaf(seed: int, count: int = 5) -> torch.Tensor:
    return images(seed, count).requires_grad_()


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def warm(network, count: int = 5) -> None:
    """As many passes, forth and back, as come before a recording, and the one that is recorded."""
    for seed in range(graphs.BEFORE + 1):
        inputs = leaf(100 + seed, count)
        torch.autograd.grad(network(inputs).sum(), inputs)
        with torch.no_grad():
            network(inputs)


def test_passes_are_recorded_once_for_each_shape_and_then_replayed():
    plain, replaying = pair()
    for count in (5, 3):
        warm(replaying, count)
    recorded = replaying.computed
    assert recorded == 2 * 2 * (graphs.BEFORE + 1)
    for seed, count in enumerate((5, 3, 5, 3)):
        given, same = leaf(seed, count), leaf(seed, count)
        logits, expected = replaying(given), plain(same)
        close(logits, expected)
        along = torch.rand(logits.shape, generator=torch.Generator().manual_seed(seed)).to("cuda")
        wanted = torch.autograd.grad((expected * along).sum(), same)
        close(torch.autograd.grad((logits * along).sum(), given), wanted)
        with torch.no_grad():
            close(replaying(given), expected)
    assert replaying.computed == recorded


def test_nothing_is_recorded_where_that_is_not_wanted(monkeypatch):
    monkeypatch.setenv(graphs.SETTING, "false")
    plain, replaying = pair()
    warm(replaying)
    recorded = replaying.computed
    close(replaying(images(1)), plain(images(1)))
    assert replaying.computed == recorded + 1
    monkeypatch.setenv(graphs.SETTING, "true")
    plain, replaying = pair()
    warm(replaying)
    recorded = replaying.computed
    close(replaying(images(1)), plain(images(1)))
    assert replaying.computed == recorded


def test_one_pass_forth_serves_several_back():
    plain, replaying = pair()
    warm(replaying)
    given, same = leaf(1), leaf(1)
    logits, expected = replaying(given), plain(same)
    for number in range(3):
        close(
            torch.autograd.grad(logits[:, number].sum(), given, retain_graph=True),
            torch.autograd.grad(expected[:, number].sum(), same, retain_graph=True),
        )


def test_a_pass_back_is_of_its_own_images_whatever_went_through_since():
    """Also where the network's gradient depends on the images, as here behind a ReLU."""
    plain, replaying = pair()
    warm(replaying)
    first, second = leaf(1), leaf(2)
    logits = [replaying(given) for given in (first, second)]
    found = [torch.autograd.grad(part[:, 0].sum(), given) for part, given in zip(logits, (first, second), strict=True)]
    for part, gradient, seed in zip(logits, found, (1, 2), strict=True):
        same = leaf(seed)
        expected = plain(same)
        close(part, expected)
        close(gradient, torch.autograd.grad(expected[:, 0].sum(), same))
    assert not torch.equal(found[0][0], found[1][0])


@pytest.mark.parametrize("back", [True, False])
@pytest.mark.parametrize("others", [(3, 5), (5, 3), (3,)])
def test_a_pass_back_is_right_whatever_shapes_went_through_since(others, back):
    """Recordings share memory: what one leaves there for its pass back is lost when an older one is replayed."""
    plain, replaying = pair()
    for count in (3, 5):
        warm(replaying, count)
    given, same = leaf(1), leaf(1)
    logits = replaying(given)
    for count in others:
        other = leaf(7, count) if back else images(7, count)
        found = replaying(other)
        if back:
            torch.autograd.grad(found.sum(), other)
    close(torch.autograd.grad(logits[:, 0].sum(), given), torch.autograd.grad(plain(same)[:, 0].sum(), same))


def test_weights_that_change_in_place_are_the_ones_that_are_replayed():
    plain, replaying = pair()
    warm(replaying)
    for network in (plain, replaying):
        network[0].weight.mul_(1.5)
    close(replaying(images(0)), plain(images(0)))


def test_a_copy_records_for_itself():
    plain, replaying = pair()
    warm(replaying)
    copied = copy.deepcopy(replaying)
    copied[0].weight.mul_(1.5)
    close(replaying(images(0)), plain(images(0)))
    assert not torch.equal(copied(images(0)), plain(images(0)))


def test_a_network_that_is_dropped_is_gone_at_once():
    _, replaying = pair()
    warm(replaying)
    weight = replaying.forward.network
    del replaying
    assert weight() is None


def test_what_waits_for_the_card_is_computed_and_said_once(capsys):
    plain, replaying = pair(Asking())
    stream = torch.cuda.current_stream()
    warm(replaying)
    assert torch.cuda.current_stream() == stream
    for seed in range(3):
        with torch.no_grad():
            close(replaying(images(seed)), plain(images(seed)))
    told = [line for line in capsys.readouterr().err.splitlines() if "not recorded as CUDA graphs" in line]
    assert len(told) == 1 and (REAL or pretended_graphs.REFUSAL in told[0])


def test_more_shapes_than_are_recorded_are_computed(monkeypatch):
    monkeypatch.setattr(graphs, "MOST", 1)
    plain, replaying = pair()
    for count in (5, 3):
        with torch.no_grad():
            for seed in range(graphs.BEFORE + 2):
                close(replaying(images(seed, count)), plain(images(seed, count)))
    assert replaying.computed == graphs.BEFORE + 1 + graphs.BEFORE + 2


def test_nothing_is_recorded_where_most_of_the_memory_is_taken(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (2**30, 2**34))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 0)
    _, replaying = pair()
    with torch.no_grad():
        for seed in range(graphs.BEFORE + 3):
            replaying(images(seed))
    assert replaying.computed == graphs.BEFORE + 3


def updated(replay: bool, steps: int, asking: bool = False):
    """A network after steps on batches of two sizes, with its values; and how often its code ran."""
    torch.manual_seed(0)
    network = Small().to("cuda").train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)

    def compute(inputs, labels, share):
        value = share * nn.functional.cross_entropy(network(inputs), labels)
        value.backward()
        return value.detach() if not asking or bool(value > 0) else None

    update = graphs.Updates(network, compute) if replay else compute
    values = []
    for step in range(steps):
        inputs = images(step, 5 + step % 2)
        optimizer.zero_grad(set_to_none=True)
        values.append(update(inputs, (torch.arange(len(inputs)) % 3).to("cuda"), 1.0))
        optimizer.step()
    return network.state_dict(), torch.stack(values), network.computed


def test_updates_that_are_replayed_lead_to_the_same_weights_and_statistics():
    found, expected = (updated(replay, 20) for replay in (True, False))
    close(found[0], expected[0])
    close(found[1], expected[1])
    assert found[0]["1.num_batches_tracked"] == 20
    assert (found[2], expected[2]) == (2 * (graphs.BEFORE + 1), 20)


def test_an_update_that_waits_for_the_card_is_computed(capsys):
    """It is found out after its backward pass, which then was recorded and not computed."""
    found, expected = (updated(replay, 20, asking=True) for replay in (True, False))
    close(found[0], expected[0])
    close(found[1], expected[1])
    assert capsys.readouterr().err.count("not recorded as CUDA graphs") == 1


def test_a_recording_computes_nothing():
    """Of a pretended card too: the step that is recorded is taken once, by its replay."""
    found = torch.zeros(3, device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found += 1
        double = 2 * found
    assert found.tolist() == [0, 0, 0]
    for _ in range(2):
        graph.replay()
    assert found.tolist() == [2, 2, 2] and double.tolist() == [4, 4, 4]


@pytest.mark.skipif(REAL, reason="of a real card it is not known which copies it takes")
@pytest.mark.parametrize(
    "ask",
    [
        lambda tensor: tensor.sum().item(),
        lambda tensor: tensor.nonzero(),
        lambda tensor: tensor[tensor > 0],
        lambda tensor: tensor.to("cpu"),
        lambda tensor: torch.tensor([1.0], device="cuda") + tensor,
    ],
)
def test_a_pretended_recording_refuses_what_waits_or_copies(ask):
    tensor = torch.rand(3, device="cuda")
    with pytest.raises(RuntimeError) as caught, torch.cuda.graph(torch.cuda.CUDAGraph()):
        ask(tensor)
    assert str(caught.value.__context__) == pretended_graphs.REFUSAL
