"""Which frames are learned from in which step."""

import numpy as np
import pytest

from mlff_curate.pretraining.course import Course


def course_of(frames, batch_size, steps, passes=None):
    return Course.of(np.arange(100, 100 + frames), batch_size, 3, steps=steps, passes=passes)


@pytest.mark.parametrize(
    ("frames", "batch_size", "steps", "expected"),
    [
        (258, 5, 2000, (52, 39)),  # some hundred frames: all in each epoch, and on to the end of one
        (7, 3, 1, (1, 1)),
        (7, 3, 2, (2, 1)),
        (7, 3, 3, (3, 1)),
        (1, 5, 3, (1, 3)),
        (40_000, 5, 6000, (1000, 6)),  # a large pile: no epoch is long, and not all is gone through
        (40_000, 5, 2500, (834, 3)),
        (12_500, 5, 6000, (1000, 6)),  # 2500 steps to go through it
        (5_000, 5, 6000, (1000, 6)),
        (5_005, 5, 1001, (501, 2)),
    ],
)
def test_epochs_are_short_and_steps_as_many_as_asked_for_or_a_few_more(frames, batch_size, steps, expected):
    course = course_of(frames, batch_size, steps)
    assert (course.per_epoch, course.epochs) == expected
    whole = -(-frames // batch_size)
    assert 0 <= course.steps - steps < (whole if course.per_epoch == whole else course.epochs)
    for epoch in (1, course.epochs):
        batches = course.batches(epoch)
        assert len(batches) == course.per_epoch
        assert {len(batch) for batch in batches} <= {batch_size, batch_size - 1, -(-frames // whole), frames // whole}


@pytest.mark.parametrize(("frames", "expected"), [(35, (7, 4)), (12_505, (910, 11))])
def test_passes_are_through_all_frames(frames, expected):
    course = course_of(frames, 5, 6000, passes=4)
    assert (course.per_epoch, course.epochs) == expected
    seen = np.concatenate([np.concatenate(course.batches(epoch)) for epoch in range(1, course.epochs + 1)])
    counts = np.bincount(seen - 100, minlength=frames)
    assert counts.min() == 4
    assert (counts > 4).mean() < 0.01


def test_no_frame_comes_again_before_all_have_come():
    course = course_of(12_500, 5, 6000)
    seen = np.concatenate([np.concatenate(course.batches(epoch)) for epoch in (1, 2, 3)])
    assert len(np.unique(seen[:12_500])) == 12_500
    assert not np.array_equal(seen[12_500:], seen[:2500])  # in another order then
    np.testing.assert_array_equal(np.concatenate(course.batches(3)), seen[10_000:])
    other = Course.of(course.training, 5, 4, steps=6000, passes=None)
    assert not np.array_equal(np.concatenate(other.batches(1)), seen[:5000])


def test_frames_drawn_are_those_of_the_batches():
    course = course_of(12_500, 5, 6000)
    for epochs in (1, 2):
        seen = np.concatenate([np.concatenate(course.batches(epoch + 1)) for epoch in range(epochs)])
        np.testing.assert_array_equal(course.drawn(epochs), np.sort(seen))
    np.testing.assert_array_equal(course.drawn(3), course.training)
    np.testing.assert_array_equal(course.drawn(6), course.training)
    assert len(course.drawn(0)) == 0
