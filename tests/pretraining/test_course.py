"""Which frames are learned from in which step."""

import numpy as np
import pytest

from mlff_curate.pretraining.course import Course


@pytest.mark.parametrize(
    ("frames", "batch_size", "steps", "expected"),
    [
        (258, 5, 2000, (52, 39)),  # some hundred frames: all in each epoch, and on to the end of one
        (7, 3, 1, (1, 1)),
        (7, 3, 2, (2, 1)),
        (40_000, 5, 6000, (1000, 6)),  # a large pile: no epoch is long, and not all is gone through
        (40_000, 5, 2500, (834, 3)),
        (12_500, 5, 6000, (833, 8)),  # 2500 steps to go through it, in three epochs
        (1, 5, 3, (1, 3)),
    ],
)
def test_epochs_are_short_and_steps_as_many_as_asked_for_or_a_few_more(frames, batch_size, steps, expected):
    course = Course.of_steps(np.arange(frames), batch_size, 0, steps)
    assert (course.per_epoch, course.epochs) == expected
    assert 0 <= course.steps - steps < course.per_epoch
    for epoch in (1, course.epochs):
        batches = course.batches(epoch)
        assert len(batches) == course.per_epoch
        assert {len(batch) for batch in batches} <= {batch_size, batch_size - 1, len(batches[-1])}
        assert max(map(len, batches)) <= batch_size


def test_epochs_that_share_the_frames_have_none_in_common():
    training = np.arange(100, 12_600)
    course = Course.of_steps(training, 5, 3, 6000)
    thirds = [np.concatenate(course.batches(epoch)) for epoch in (1, 2, 3)]
    assert len(np.unique(np.concatenate(thirds))) == sum(map(len, thirds)) == 12_495
    assert set(np.concatenate(thirds)) < set(training)
    again = np.concatenate(course.batches(4))
    assert len(np.intersect1d(again, thirds[0])) < len(again)  # in another order then
    np.testing.assert_array_equal(again, np.concatenate(course.batches(4)))
    other = Course.of_steps(training, 5, 4, 6000)
    assert not np.array_equal(np.concatenate(other.batches(1)), thirds[0])


def test_frames_drawn_are_those_of_the_batches():
    course = Course.of_steps(np.arange(10, 50), 5, 0, 2)
    np.testing.assert_array_equal(course.drawn(1), np.sort(np.concatenate(course.batches(1))))
    assert len(course.drawn(1)) == 10
    whole = Course.of_epochs(np.arange(10, 50), 7, 0, 3)
    assert (whole.per_epoch, whole.epochs, whole.steps) == (6, 3, 18)
    np.testing.assert_array_equal(whole.drawn(1), np.arange(10, 50))
    assert len(whole.drawn(0)) == 0
