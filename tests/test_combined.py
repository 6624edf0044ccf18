"""Methods combined: each does what it does alone, with a state and strengths of its own."""

import functools

import oracles
import pytest
import torch
from oracles import F64, distance, replica, same_bits, small_stream

from cl_lib import EWC, L2, MAS, MLP, SI, Finetune, Joint
from cl_lib.methods import SLNI, SLNID, Method, Replay, WeightDecay, combine, single
from cl_lib.population import Population

# a few steps leave weak penalties unfelt, and here that is meant
pytestmark = pytest.mark.filterwarnings("ignore::cl_lib.methods.IneffectivePenalty")
STREAM = small_stream(3)
PAIRS = {
    "SLNID and MAS": (SLNID, MAS),
    "SLNI and EWC": (SLNI, EWC),
    "weight decay and SI": (WeightDecay, SI),
    "EWC and SI by gradient": (
        lambda s: EWC(s, step="gradient"),
        lambda s: SI(s, step="gradient"),
    ),
    "replay and L2": (lambda s: Replay(s, per_task=6), L2),
}
each_pair = pytest.mark.parametrize(("one", "other"), PAIRS.values(), ids=PAIRS)


short = functools.partial(oracles.short, stream=STREAM, lr=0.05)


def population():
    torch.manual_seed(0)
    return Population([MLP(6, (5,), 3).to(F64)])


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
@each_pair
def test_a_method_of_strength_zero_is_not_there(one, other, seeds):
    assert same_bits(
        short(combine(one(0.2), other(0)), seeds=seeds).params, short(one(0.2), seeds=seeds).params
    )
    assert same_bits(
        short(combine(one(0), other(0.2)), seeds=seeds).params, short(other(0.2), seeds=seeds).params
    )
    assert same_bits(short(combine(one(0), other(0)), seeds=seeds).params, short(seeds=seeds).params)


@each_pair
def test_both_methods_are_at_work(one, other):
    both = short(combine(one(0.2), other(0.2))).params
    assert distance(both, short(one(0.2)).params) > 1e-4
    assert distance(both, short(other(0.2)).params) > 1e-4


def test_order_does_not_matter_where_both_only_add():
    methods = SLNI(0.1), EWC(0.5, step="gradient"), L2(0.1, step="gradient")
    assert distance(short(combine(*methods)).params, short(combine(*methods[::-1])).params) < 1e-12


def test_the_last_of_two_stiff_penalties_has_the_last_word():
    people = population()
    ones = {name: torch.ones_like(p) for name, p in people.params.items()}
    twos = {name: 2 * p for name, p in ones.items()}
    state = single(ones, ones), single(ones, twos)
    combine(L2(1e12), L2(1e12)).after_step(state, people, lambda name: 0.1)
    assert distance(people.params, twos) < 1e-10


def test_gradients_pass_the_methods_in_the_order_in_which_they_are_named():
    class Adding(Method):
        def add_gradient(self, state, population, grads):
            grads["w"] += 1

    class Doubling(Method):
        def add_gradient(self, state, population, grads):
            grads["w"] *= 2

    grads = {"w": torch.ones(1)}
    combine(Adding(), Doubling()).add_gradient(None, None, grads)
    assert grads["w"] == 4


def test_penalties_add_up():
    """Two pulls to the same anchor, of importance 1 each, are one pull of both strengths."""
    both = short(combine(L2(0.1, step="gradient"), L2(0.3, step="gradient")))
    assert distance(both.params, short(L2(0.4, step="gradient")).params) < 1e-12


def test_added_losses_add_up():
    both = short(combine(WeightDecay(0.1), WeightDecay(0.3)))
    assert distance(both.params, short(WeightDecay(0.4)).params) < 1e-12
    assert combine(MAS(1.0), EWC(1.0)).extra_loss(None, None, None) is None


def test_states_are_separate():
    run = short(combine(SLNID(0), MAS(0.2), Finetune()))
    alone = short(MAS(0.2)).state
    neurons, penalty, nothing = run.state
    assert [alpha.shape for alpha in neurons] == [(1, 5)] and nothing is None
    assert same_bits(penalty.importance, alone.importance) and same_bits(penalty.centre, alone.centre)


def test_two_methods_of_a_kind_have_states_of_their_own():
    first, second = short(combine(EWC(0.5), EWC(0.5, fisher="empirical"))).state
    assert distance(first.importance, second.importance) > 1e-3


def test_each_state_goes_to_its_method():
    people, methods = population(), (SLNID(0.1), EWC(0.5), L2(0.5))
    state = combine(*methods).begin_task(None, people, STREAM[0])
    state = combine(*methods).after_task(state, people, STREAM[0])
    assert isinstance(state, tuple)
    for own, method in zip(state[1:], methods[1:], strict=True):
        assert same_bits(own.importance, method.after_task(None, people, STREAM[0]).importance)


def test_methods_may_be_nested():
    one, two, three = SLNID(0.05), MAS(0.2), SI(0.3)
    assert combine(combine(one, two), three).methods == (one, two, three)


# Strengths


def test_strengths_are_trained_in_pairs():
    pairs = [(0.02, 0.5), (0.1, 0.05)]
    together = short(combine(SLNID((0.02, 0.1)), MAS((0.5, 0.05))), seeds=(0, 1))
    assert together.strength.tolist() == [0.02, 0.02, 0.1, 0.1]
    assert together.seeds.tolist() == [0, 1, 0, 1]
    for r, (pair, seed) in enumerate([(pair, seed) for pair in pairs for seed in (0, 1)]):
        alone = short(combine(SLNID(pair[0]), MAS(pair[1])), seeds=(seed,))
        assert distance(replica(together.params, r), replica(alone.params, 0)) < 1e-10
    assert (together.at(0.1).accuracy == together.accuracy[2:]).all()


def test_one_strength_serves_several_of_the_other():
    together = short(combine(SLNID(0.05), MAS((0.5, 0.05))))
    assert together.strength.tolist() == [0.5, 0.05]
    for r, strength in enumerate([0.5, 0.05]):
        alone = short(combine(SLNID(0.05), MAS(strength)))
        assert distance(replica(together.params, r), replica(alone.params, 0)) < 1e-10


@pytest.mark.parametrize(
    ("methods", "expected"),
    [
        ((SLNID(0.1), MAS(0.2)), 0.1),
        ((SLNID(0.1), MAS((0.2, 0.3))), (0.2, 0.3)),
        ((SLNID((0.4, 0.5)), MAS((0.2, 0.3))), (0.4, 0.5)),
        ((Finetune(), Finetune()), 0.0),
        ((Finetune(), MAS(0.2)), 0.2),
        ((Finetune(), MAS((0.2, 0.3))), (0.2, 0.3)),
    ],
)
def test_strength_is_that_of_the_first_with_several(methods, expected):
    assert combine(*methods).strength == expected


def test_hidden_activations_are_asked_for_if_one_method_needs_them():
    assert combine(MAS(1.0), SLNID(1.0)).uses_hidden
    assert not combine(MAS(1.0), EWC(1.0)).uses_hidden


# What is refused


@pytest.mark.parametrize("methods", [(), (MAS(1.0),)])
def test_refuses_fewer_than_two(methods):
    with pytest.raises(ValueError, match=f"methods holds {len(methods)}: combine needs two or more"):
        combine(*methods)


def test_refuses_strengths_that_do_not_pair():
    with pytest.raises(ValueError, match=r"strengths have \[2, 3\] values: they are trained in pairs"):
        combine(SLNID((1.0, 2.0)), MAS((1.0, 2.0, 3.0)))


def test_refuses_joint_training():
    with pytest.raises(ValueError, match="methods holds Joint, which chooses its own training data"):
        combine(MAS(1.0), Joint())


def test_refuses_another_method_that_chooses_its_data():
    class All(Method):
        def tasks_seen(self, t):
            return range(t + 1)

    with pytest.raises(ValueError, match="methods holds All, which chooses its own training data"):
        combine(MAS(1.0), All())


def test_refuses_another_method_that_starts_anew():
    class Fresh(Method):
        restarts = True

    with pytest.raises(ValueError, match=r"methods holds Fresh, .* \(tasks_seen, restarts\): train it alone"):
        combine(Fresh(), MAS(1.0))


def test_each_added_loss_is_one_number_for_each_replica():
    class Summed(Method):
        def extra_loss(self, state, population, batch):
            return batch.logits.sum()

    with pytest.raises(ValueError, match=r"extra_loss of Summed has shape \(\), but must be one .* \(2,\)"):
        short(combine(WeightDecay(0.1), Summed()), seeds=(0, 1))


@pytest.mark.parametrize("stranger", [3, None, MAS, [MAS(1.0), SLNID(1.0)]])
def test_refuses_what_is_no_method(stranger):
    with pytest.raises(TypeError, match="methods holds .*, but each must be a method such as MAS"):
        combine(MAS(1.0), stranger)
