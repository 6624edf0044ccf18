"""Streams: what each task shows, and which outputs compete in it."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from cl_lib import data, tasks
from cl_lib.data import Dataset, Split
from cl_lib.streams import disjoint, from_tensors, permuted, rotated, split
from cl_lib.tasks import Stream, Task

PARTS = ("train", "validation", "test")
DIGITS = data.load("digits")


def made_up(shape, n_classes=4, n=12, dtype=torch.uint8):
    """A small data set in which each class appears, and no two images are alike."""
    generator = torch.Generator().manual_seed(0)
    parts = {}
    for part in PARTS:
        x = torch.randint(1, 256, (n, *shape), generator=generator).to(dtype)
        parts[part] = Split(x, torch.arange(n) % n_classes)
    return Dataset("made-up", classes=tuple("abcdefgh"[:n_classes]), **parts)


COLOUR, FLAT = made_up((3, 5, 5)), made_up((9,))
WITHOUT_D = replace(FLAT, test=Split(FLAT.test.x[FLAT.test.y < 3], FLAT.test.y[FLAT.test.y < 3]))


def same_split(a, b):
    return torch.equal(a.x, b.x) and torch.equal(a.y, b.y)


# Permuted


def order_of(before, after):
    """The pixel order that turns ``before`` into ``after``, found by comparing columns."""
    columns = {tuple(before[:, i].tolist()): i for i in range(before.shape[1])}
    assert len(columns) == before.shape[1], "columns must differ"
    return [columns[tuple(after[:, i].tolist())] for i in range(after.shape[1])]


def test_permuted_reorders_pixels_of_all_parts_alike():
    for task in permuted(FLAT, 3):
        orders = [order_of(getattr(FLAT, p).x, getattr(task, p).x) for p in PARTS]
        assert orders[0] == orders[1] == orders[2]
        assert sorted(orders[0]) == list(range(9)) != orders[0]
        assert all(torch.equal(getattr(task, p).y, getattr(FLAT, p).y) for p in PARTS)


def test_permutations_differ_and_do_not_depend_on_the_length_of_the_stream():
    long, short = permuted("digits", 4), permuted("digits", 2)
    assert all(same_split(long[t].train, short[t].train) for t in range(2))
    images = [task.train.x for task in long]
    assert not any(torch.equal(images[i], images[j]) for i in range(4) for j in range(i))
    assert not torch.equal(permuted("digits", 1, seed=1)[0].train.x, images[0])
    assert same_split(permuted(DIGITS, 1)[0].test, short[0].test)


def test_seeds_and_angles_may_be_those_of_numpy_and_torch():
    for t in range(2):
        assert same_split(permuted(FLAT, 2, seed=np.int64(3))[t].train, permuted(FLAT, 2, seed=3)[t].train)
    for angles in (torch.linspace(0, 90, 3), np.linspace(0, 90, 3)):
        assert [task.name for task in rotated(FLAT, angles)] == ["0 degrees", "45 degrees", "90 degrees"]


def test_keep_first_leaves_the_first_task_only():
    plain, kept = permuted("digits", 3), permuted("digits", 3, keep_first=True)
    assert all(same_split(getattr(kept[0], p), getattr(DIGITS, p)) for p in PARTS)
    assert not torch.equal(plain[0].train.x, DIGITS.train.x)
    assert all(same_split(kept[t].train, plain[t].train) for t in (1, 2))


def test_channels_are_permuted_alike():
    task, before = permuted(COLOUR, 1)[0], COLOUR.train.x
    assert task.train.x.shape == before.shape
    orders = [order_of(before[:, c].flatten(1), task.train.x[:, c].flatten(1)) for c in range(3)]
    assert orders[0] == orders[1] == orders[2] != list(range(25))


def test_grey_images_with_two_axes_are_permuted_as_a_whole():
    grey = made_up((4, 4))
    task = permuted(grey, 1)[0]
    moved = order_of(grey.train.x.flatten(1), task.train.x.flatten(1))
    rows = [{i // 4 for i in moved[4 * r : 4 * r + 4]} for r in range(4)]
    assert any(len(row) > 1 for row in rows)


# Rotated


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(25,), (3, 5, 5), (4, 4)])
def test_quarter_turns_are_exact_and_counter_clockwise(shape, dtype):
    dataset = made_up(shape, dtype=dtype)
    side = math.isqrt(shape[0]) if len(shape) == 1 else shape[-1]
    for task, angle in zip(rotated(dataset, [0, 90, 180, -90]), [0, 1, 2, -1], strict=True):
        for part in PARTS:
            before, after = getattr(dataset, part).x, getattr(task, part).x
            images = before.reshape(len(before), -1, side, side)
            expected = torch.rot90(images, angle, (2, 3)).reshape(before.shape)
            assert after.dtype == dtype
            torch.testing.assert_close(after, expected, rtol=0, atol=0 if dtype == torch.uint8 else 1e-3)
            assert torch.equal(getattr(task, part).y, getattr(dataset, part).y)


def test_other_angles_turn_a_point_to_where_trigonometry_says():
    image = torch.zeros(1, 41, 41)
    image[0, 20 - 1 : 20 + 2, 35 - 1 : 35 + 2] = 1  # 15 to the right of the centre
    one = Split(image, torch.tensor([0]))
    turned = rotated(Dataset("dot", one, one, one, ("dot",)), [30])[0].train.x[0]
    places = torch.stack(torch.meshgrid(torch.arange(41.0), torch.arange(41.0), indexing="ij"))
    row, column = (places * turned).sum((1, 2)) / turned.sum()
    assert float(row) == pytest.approx(20 - 15 * math.sin(math.pi / 6), abs=0.05)
    assert float(column) == pytest.approx(20 + 15 * math.cos(math.pi / 6), abs=0.05)


def test_outside_is_black():
    white = Split(torch.full((2, 6, 6), 255, dtype=torch.uint8), torch.tensor([0, 1]))
    turned = rotated(Dataset("white", white, white, white, ("a", "b")), [45])[0].train.x
    assert (turned[:, 0, 0] == 0).all() and (turned[:, 2:4, 2:4] == 255).all()


# Split and disjoint


@pytest.mark.parametrize("scenario", tasks.SCENARIOS)
def test_split_deals_out_every_image_once(scenario):
    stream = split("digits", 5, scenario=scenario)
    for part in PARTS:
        whole = getattr(DIGITS, part)
        for t, task in enumerate(stream):
            wanted = (whole.y == 2 * t) | (whole.y == 2 * t + 1)
            own = getattr(task, part)
            first = 0 if scenario == "domain" else 2 * t
            assert torch.equal(own.x, whole.x[wanted])
            assert torch.equal(own.y, whole.y[wanted] - 2 * t + first)
    outputs = {"task": [(2 * t, 2 * t + 2) for t in range(5)], "domain": [(0, 2)] * 5}
    assert [task.outputs for task in stream] == outputs.get(scenario, [(0, 10)] * 5)
    assert stream.n_outputs == (2 if scenario == "domain" else 10)
    assert (stream.name, stream.scenario) == ("split digits", scenario)


def test_split_is_task_incremental_unless_told_otherwise():
    assert split(FLAT, 2).scenario == "task"


def test_split_with_a_seed_deals_the_classes_in_another_order():
    plain, shuffled, other = (
        split("digits", 5),
        split("digits", 5, seed=0),
        split("digits", 5, seed=1),
    )
    names = [[task.name for task in stream] for stream in (plain, shuffled, other)]
    assert names[0] == [
        "classes 0, 1",
        "classes 2, 3",
        "classes 4, 5",
        "classes 6, 7",
        "classes 8, 9",
    ]
    assert names[1] != names[0] and names[2] != names[1]
    assert [task.name for task in split("digits", 5, seed=0)] == names[1]
    seen = sorted(c for name in names[1] for c in name.removeprefix("classes ").split(", "))
    assert seen == [str(c) for c in range(10)]


def test_groups_and_angles_may_come_in_any_form():
    wanted = [task.train.y.tolist() for task in disjoint(FLAT, [(3, 1), (0, 2)])]
    for groups in (
        torch.tensor([[3, 1], [0, 2]]),
        np.array([[3, 1], [0, 2]]),
        ((c for c in group) for group in [(3, 1), (0, 2)]),
    ):
        assert [task.train.y.tolist() for task in disjoint(FLAT, groups)] == wanted
    assert [task.name for task in rotated(FLAT, (a for a in (0, 45)))] == ["0 degrees", "45 degrees"]


def test_an_output_that_competes_with_none_is_warned_of():
    with pytest.warns(
        UserWarning, match="split made-up: in classes a, .*, classes d a single output competes"
    ):
        split(FLAT, 4)
    for scenario in ("domain", "class"):
        assert len(split(FLAT, 4, scenario=scenario)) == 4


WHITE = torch.ones(3, 4)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"test": Split(WHITE, torch.tensor([0, 1, 4]))},
            ValueError,
            "test holds the label 4, but classes has 4",
        ),
        ({"classes": ("a",)}, ValueError, "train holds the label 1, but classes has 1 names"),
        ({"classes": (0, 1)}, TypeError, r"classes is \(0, 1\), but must be a tuple of names"),
        ({"classes": "ab"}, TypeError, "classes is 'ab', but must be a tuple of names"),
        ({"test": None}, TypeError, r"test is a NoneType, but must be a Split\(x, y\)"),
        (
            {"test": Split(WHITE[:, 1:], torch.arange(3))},
            ValueError,
            r"test inputs have shape \(3,\), but those",
        ),
        (
            {"test": Split(WHITE.byte(), torch.arange(3))},
            ValueError,
            "test inputs are torch.uint8, but those of",
        ),
    ],
)
def test_a_data_set_names_its_classes_and_has_inputs_of_one_kind(changes, error, message):
    own = dict.fromkeys(PARTS, Split(WHITE, torch.tensor([0, 1, 1])))
    with pytest.raises(error, match=message):
        Dataset("mine", **({"classes": tuple("abcd")} | own | changes))


GROUPS = [(3, 1), (0,)]  # class 2 is not used, and order counts


@pytest.mark.filterwarnings("ignore:.*a single output competes with none")
@pytest.mark.parametrize(
    ("scenario", "labels", "outputs", "n_outputs"),
    [
        ("task", {3: 0, 1: 1, 0: 2}, [(0, 2), (2, 3)], 3),
        ("domain", {3: 0, 1: 1, 0: 0}, [(0, 2), (0, 2)], 2),
        ("class", {3: 0, 1: 1, 0: 2}, [(0, 3), (0, 3)], 3),
    ],
)
def test_disjoint_keeps_the_order_within_a_group(scenario, labels, outputs, n_outputs):
    stream = disjoint(FLAT, GROUPS, scenario=scenario)
    assert [task.outputs for task in stream] == outputs
    assert stream.n_outputs == n_outputs
    assert [task.name for task in stream] == ["classes d, b", "classes a"]
    for task, group in zip(stream, GROUPS, strict=True):
        for part in PARTS:
            whole, own = getattr(FLAT, part), getattr(task, part)
            wanted = torch.isin(whole.y, torch.tensor(group))
            assert torch.equal(own.x, whole.x[wanted])
            assert own.y.tolist() == [labels[int(c)] for c in whole.y[wanted]]


# Scenarios of streams that show every class in every task


@pytest.mark.parametrize(
    "make",
    [lambda s: permuted(FLAT, 3, scenario=s), lambda s: rotated(FLAT, [0, 90, 180], scenario=s)],
)
def test_outputs_of_each_scenario(make):
    for scenario, outputs, firsts, n_outputs in (
        ("task", [(0, 4), (4, 8), (8, 12)], [0, 4, 8], 12),
        ("domain", [(0, 4)] * 3, [0, 0, 0], 4),
        ("class", [(0, 12)] * 3, [0, 4, 8], 12),
    ):
        stream = make(scenario)
        assert [task.outputs for task in stream] == outputs
        assert stream.n_outputs == n_outputs
        for task, first in zip(stream, firsts, strict=True):
            assert torch.equal(task.test.y, FLAT.test.y + first)


# Your own tensors


def pair(n=20, labels=(0, 1, 2), seed=0, shape=(3,)):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, *shape, generator=generator), torch.tensor(labels)[torch.arange(n) % len(labels)]


def test_given_parts_are_taken_as_they_are():
    train, validation, test = ([pair(seed=10 * k + t) for t in range(2)] for k in range(3))
    stream = from_tensors(train, validation=validation, test=test, name="mine")
    assert (stream.name, stream.scenario, stream.n_outputs, len(stream)) == ("mine", "domain", 3, 2)
    for t, task in enumerate(stream):
        assert task.name == f"task {t + 1}" and task.outputs == (0, 3)
        for part, given in zip(PARTS, (train, validation, test), strict=True):
            assert same_split(getattr(task, part), Split(*given[t]))


def rows(*splits):
    """Samples with their labels, in an order of their own."""
    return sorted([*x.tolist(), int(y)] for s in splits for x, y in zip(s.x, s.y, strict=True))


def test_missing_parts_are_held_out_of_training():
    train = [pair(50, seed=0), pair(100, seed=1)]
    stream = from_tensors(train)
    sizes = [[len(getattr(task, part)) for part in PARTS] for task in stream]
    assert sizes == [[36, 4, 10], [72, 8, 20]]
    for task, given in zip(stream, train, strict=True):
        assert rows(task.train, task.validation, task.test) == rows(Split(*given))
    again = from_tensors(train)
    assert all(same_split(a.test, b.test) for a, b in zip(stream, again, strict=True))
    state = torch.get_rng_state()
    from_tensors(train)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_versions_of_the_same_images_hold_out_the_same_places(scenario):
    x, y = pair(60)
    stream = from_tensors([(x, y), (-x, y), (2 * x, y)], scenario=scenario)
    for part in PARTS:
        first, mirrored, doubled = (getattr(task, part).x for task in stream)
        assert torch.equal(first, -mirrored) and torch.equal(2 * first, doubled)


def test_only_the_missing_part_is_held_out():
    train, test = [pair(50)], [pair(9, seed=1)]
    task = from_tensors(train, test=test)[0]
    assert [len(getattr(task, part)) for part in PARTS] == [45, 5, 9]
    assert rows(task.train, task.validation) == rows(Split(*train[0]))


@pytest.mark.parametrize("scenario", ["task", "domain"])
@pytest.mark.parametrize("where", range(20))
def test_a_rare_class_stays_in_training(scenario, where):
    """Wherever the one sample of class 2 lies, and whatever is held out."""
    x, y = pair(20, (0, 1))
    y[where] = 2
    task = from_tensors([(x, y)], scenario=scenario)[0]
    assert task.outputs == (0, 3) and task.train.y.unique().tolist() == [0, 1, 2]
    assert [len(getattr(task, part)) for part in PARTS] == [14, 2, 4]


@pytest.mark.filterwarnings("ignore:.*a single output competes with none")
@pytest.mark.parametrize(
    ("scenario", "labels", "outputs", "n_outputs"),
    [
        ("task", [[0, 1, 2], [3, 4], [5]], [(0, 3), (3, 5), (5, 6)], 6),
        ("class", [[0, 1, 2], [3, 4], [5]], [(0, 6)] * 3, 6),
        ("domain", [[2, 5, 7], [1, 9], [4]], [(0, 10)] * 3, 10),
    ],
)
def test_labels_of_your_own_become_outputs(scenario, labels, outputs, n_outputs):
    given = [pair(12, (2, 5, 7)), pair(12, (1, 9)), pair(12, (4,))]
    stream = from_tensors(given, validation=given, test=given, scenario=scenario)
    assert [task.outputs for task in stream] == outputs
    assert stream.n_outputs == n_outputs
    for task, (_, y), renamed in zip(stream, given, labels, strict=True):
        known = y.unique().tolist()
        for part in PARTS:
            assert getattr(task, part).y.tolist() == [renamed[known.index(int(c))] for c in y]


# A stream is a sequence


def test_length_index_and_iteration():
    stream = permuted(FLAT, 3)
    assert len(stream) == 3
    assert [task.name for task in stream] == [f"permutation {t}" for t in (1, 2, 3)]
    assert stream[-1] is list(stream)[2]
    assert [task.name for task in rotated(FLAT, [0, 22.5])] == ["0 degrees", "22.5 degrees"]
    assert (stream.name, rotated(FLAT, [0]).name) == ("permuted made-up", "rotated made-up")


# What is refused

LEVELS = (pair()[0].to(torch.uint8), pair()[1])
NAN = (torch.full((4, 3), math.nan), torch.zeros(4).long())
REFUSED = [
    (lambda: permuted("digits", 0), "n_tasks is 0, but a stream needs a whole number of tasks"),
    (lambda: permuted("digits", 2.5), "n_tasks is 2.5, but"),
    (lambda: split("digits", 0), "n_tasks is 0, but"),
    (lambda: split("digits", 3), "n_tasks is 3, which does not divide the 10 classes.*disjoint"),
    (lambda: rotated("digits", []), "the number of degrees is 0, but"),
    (lambda: rotated("digits", [0, math.nan]), r"degrees is \[0, nan\], but every angle must be a finite"),
    (lambda: permuted("digits", True), "n_tasks is True, but"),
    (lambda: rotated(made_up((8,)), [0]), r"inputs of shape \(8,\): not a square image"),
    (lambda: rotated(made_up((8, 2)), [0]), r"inputs of shape \(8, 2\): not a square image"),
    (lambda: rotated(made_up((3, 4, 5)), [0]), r"inputs of shape \(3, 4, 5\): not a square image"),
    (lambda: disjoint("digits", []), "the number of groups is 0, but"),
    (lambda: disjoint("digits", [(0, 1), (10,)]), "names class 10, but digits has classes 0 to 9"),
    (lambda: disjoint("digits", [(0, -1)]), "names class -1"),
    (lambda: disjoint("digits", [(0, 1), (1, 2)]), "no class in two places"),
    (lambda: disjoint("digits", [(0, 1), ()]), "no group may be empty"),
    (lambda: disjoint("digits", torch.tensor([[0, 1], [1, 2]])), "no class in two places"),
    (lambda: disjoint("digits", np.array([[0, 1], [1, 2]])), "no class in two places"),
    (lambda: permuted("digits", 2, seed=2**64), r"seed is 18446744073709551616, but must lie between -2"),
    (lambda: split("digits", 2, seed=-(2**63) - 1), "seed is -9223372036854775809, but must lie between"),
    (lambda: permuted("digits", 2, scenario="online"), "scenario is 'online', but must be one of"),
    (lambda: split("digits", 2, scenario="online"), "scenario is 'online'"),
    (lambda: rotated("digits", [0], scenario="online"), "scenario is 'online'"),
    (lambda: from_tensors([pair()], scenario="online"), "scenario is 'online'"),
    (lambda: permuted("digit", 2), "name is 'digit', but must be one of"),
    (lambda: permuted([pair()], 2), r"dataset is a list.*streams.from_tensors\(\.\.\.\)"),
    (lambda: from_tensors([]), "the number of tasks in train is 0, but"),
    (lambda: from_tensors([pair()], test=[pair()] * 2), "test has 2 tasks, but train has 1"),
    (lambda: from_tensors([pair()] * 2, validation=[pair()]), "validation has 1 tasks, but"),
    (lambda: from_tensors([pair(2)]), r"train\[0\] has 2 samples of 2 classes, too few to hold out a test"),
    (lambda: from_tensors([pair(10, range(10))]), "10 samples of 10 classes.* keep one sample of each class"),
    (lambda: from_tensors([pair(), pair(4)], test=[pair()] * 2), r"train\[1\].*validation=\["),
    (lambda: from_tensors([pair(), pair(shape=(4,))]), r"task 2: train inputs have.*\(3,\)"),
    (
        lambda: from_tensors([pair()], test=[pair(shape=(4,))]),
        r"task 1: test inputs have shape \(4,\), but the first task's have \(3,\)",
    ),
    *(
        (
            lambda part=part: from_tensors([pair()], **{part: [pair(labels=(0, 3))]}),
            f"task 1: {part} labels run from 0 to 3, but the outputs of this task are 0 to 2",
        )
        for part in ("test", "validation")
    ),
    (
        lambda: from_tensors([pair()], test=[pair(labels=(0, 9))], scenario="task"),
        r"test\[0\] has label 9, which this task's training data never shows; .*\[0, 1, 2\]",
    ),
    (lambda: from_tensors([NAN]), "x holds 12 values that are NaN"),
    (lambda: from_tensors([pair(labels=(0, -1))]), "y holds the label -1"),
    (lambda: from_tensors([(torch.zeros(3, 2), NAN[1])]), "x has 3 examples, but y 4"),
    (lambda: Stream("empty", "domain", (), 2), "tasks is empty"),
    (lambda: from_tensors([pair(), LEVELS]), "task 2: train inputs are torch.uint8, but the first"),
    (lambda: from_tensors([pair()], test=[LEVELS]), "task 1: test inputs are torch.uint8"),
    (lambda: from_tensors([pair(), NAN]), r"train\[1\]: x holds 12 values that are NaN"),
    (lambda: disjoint(WITHOUT_D, [(0, 1), (3,)]), r"made-up has no test image of the classes \[3\]"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[m[:30] for _, m in REFUSED])
def test_refuses(make, message):
    error = TypeError if message.startswith("dataset is a") else ValueError
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: from_tensors(pair()), r"train\[0\] is a Tensor, but must be a pair \(x, y\)"),
        (lambda: from_tensors([pair()], test=[(1, 2, 3)]), r"test\[0\] is a tuple, but must be a pair"),
        (lambda: from_tensors([pair()], test=[(pair()[0], pair()[1].int())]), r"test\[0\]: y is torch.int32"),
        (lambda: disjoint("digits", [0, 1]), r"groups is \[0, 1\], but must be a list of groups"),
        (lambda: disjoint("digits", 3), "groups is 3, but must be a list of groups"),
        (lambda: rotated("digits", 45), "degrees is 45, but must be a list of angles"),
        (lambda: disjoint("digits", ["01", "23"]), "groups holds '0', but a class must be a whole number"),
        (lambda: disjoint("digits", [(0, 1), (2.0, 3)]), "groups holds 2.0, but a class"),
        (lambda: disjoint("digits", [(True, False)]), "groups holds True, but a class"),
        (lambda: disjoint("digits", torch.tensor([[True]])), r"groups holds tensor\(True\), but a class"),
        (lambda: disjoint("digits", [torch.tensor([0.0])]), r"groups holds tensor\(0.\), but a class"),
        (lambda: rotated("digits", "45"), r"degrees is \['4', '5'\], but must be a list of angles"),
        (lambda: rotated("digits", ["45"]), r"degrees is \['45'\], but must be a list of angles"),
        (lambda: permuted("digits", 2, seed=0.5), "seed is 0.5, but must be a whole number"),
        (lambda: split("digits", 2, seed="a"), "seed is 'a', but must be a whole number"),
        (lambda: permuted("digits", 2, seed=True), "seed is True, but must be a whole number"),
    ],
)
def test_refuses_what_is_of_another_kind(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_any_iterable_of_pairs_will_do():
    x, y = pair(20)
    stream = from_tensors(zip((x, x + 1), (y, y), strict=True))
    assert len(stream) == 2


def test_a_stream_made_by_hand_is_checked_too():
    own = Split(*pair())
    with pytest.raises(ValueError, match="labels run from 0 to 2, but the outputs of this task are 1 to 2"):
        Stream("mine", "task", (Task("a", own, own, own, (1, 3)),), 3)
    with pytest.raises(TypeError, match=r"a: outputs is \(0, 3, 3\), but must be a tuple \(first, stop\)"):
        Stream("mine", "task", (Task("a", own, own, own, (0, 3, 3)),), 3)
    with pytest.raises(ValueError, match=r"a: outputs is \(0, 4\), but must be .* n_outputs=3"):
        Stream("mine", "task", (Task("a", own, own, own, (0, 4)),), 3)


@pytest.mark.parametrize(
    "made_as, said, message",
    [
        ("task", "class", r"outputs must be \(0, 10\) for all tasks, but they are \[\(0, 5\), \(5, 10\)\]"),
        ("task", "domain", "outputs must be the same for all tasks"),
        ("domain", "task", "outputs must be ranges that do not overlap"),
        ("class", "task", "outputs must be ranges that do not overlap"),
    ],
)
def test_a_scenario_that_the_outputs_contradict_is_refused(made_as, said, message):
    stream = split("digits", 2, scenario=made_as)
    with pytest.raises(ValueError, match=f"scenario is '{said}', where {message}"):
        replace(stream, scenario=said)


def test_what_is_held_out_is_drawn():
    x, y = torch.randn(300, 3), torch.arange(300) // 100  # sorted by class, as many files are
    task = from_tensors([(x, y)])[0]
    for part in (task.validation, task.test):
        assert part.y.unique().tolist() == [0, 1, 2]


@pytest.mark.parametrize("angle", [30, 45, -17])
def test_rotation_interpolates_as_scipy_does(angle):
    image = np.zeros((21, 21))
    image[6:15, 6:15] = np.random.default_rng(0).random((9, 9))
    one = Split(torch.tensor(image)[None], torch.tensor([0]))
    turned = rotated(Dataset("noise", one, one, one, ("a",)), [angle])[0].train.x[0]
    np.testing.assert_allclose(turned, ndimage.rotate(image, angle, reshape=False, order=1), atol=1e-4)
