"""SportBalls: what an image shows is what its factors say, and what its index decides."""

import numpy as np
import pytest
from PIL import Image
from scipy.stats import chi2_contingency, chisquare

from nonrobust_guidance.data import Example, SportBalls

NUM_EXAMPLES = 4000
X, Y, SIZE, ROTATION = range(4)


@pytest.fixture(scope="module")
def balls() -> SportBalls:
    return SportBalls(image_size=32, ball_size=0.625, scale_range=(0.5, 1.0))


@pytest.fixture(scope="module")
def examples(balls: SportBalls) -> list[Example]:
    return [balls.example(index) for index in range(NUM_EXAMPLES)]


@pytest.fixture(scope="module")
def labels(examples: list[Example]) -> np.ndarray:
    return np.array([example.label for example in examples])


@pytest.fixture(scope="module")
def factors(examples: list[Example]) -> np.ndarray:
    return np.stack([example.factors for example in examples])


def test_image_depends_on_seed_and_index_alone(balls, examples):
    again = SportBalls(image_size=32, ball_size=0.625, scale_range=(0.5, 1.0))
    for index in (3999, 7, 0, 1234):
        image, label, factors = again.example(index)
        np.testing.assert_array_equal(image, examples[index].image)
        np.testing.assert_array_equal(factors, examples[index].factors)
        assert label == examples[index].label
    other = SportBalls(seed=1, image_size=32, ball_size=0.625, scale_range=(0.5, 1.0))
    assert any(not np.array_equal(other.example(index).factors, examples[index].factors) for index in range(3))


def test_no_two_of_a_thousand_images_are_equal_beyond_chance(examples):
    # 4 classes, 12 x 12 places, 50 sizes and 360 angles: 10 million images, so about 0.05 equal pairs in 1,000.
    assert len({example.image.tobytes() for example in examples[:1000]}) >= 998


def test_factors_redraw_the_image(balls, examples):
    for image, label, factors in examples[:50]:
        assert factors.dtype == np.float32
        np.testing.assert_array_equal(balls.render(label, *factors.tolist()), image)


def test_classes_are_balanced(labels):
    assert chisquare(np.bincount(labels, minlength=4)).pvalue > 1e-3


def test_factors_are_independent(labels, factors):
    correlations = np.corrcoef(np.column_stack([labels, factors]).T)
    # A correlation of independent draws has a standard deviation of 1 / sqrt(n).
    assert np.abs(correlations - np.eye(5)).max() < 4 / NUM_EXAMPLES**0.5
    for residue in (factors[:, X] * 32 % 4, factors[:, ROTATION] % 4, np.rint(factors[:, SIZE] * 160) % 2):
        _, counts = np.unique(np.stack([labels, residue]), axis=1, return_counts=True)
        assert chi2_contingency(counts.reshape(4, -1)).pvalue > 1e-3


def test_factors_fill_their_ranges(factors):
    # Frame of 20 pixels at offsets 0 .. 11, diameters 50% .. 99% of it.
    assert (factors[:, [X, Y]].min(axis=0) * 32).tolist() == [10, 10]
    assert (factors[:, [X, Y]].max(axis=0) * 32).tolist() == [21, 21]
    np.testing.assert_allclose([factors[:, SIZE].min() * 32, factors[:, SIZE].max() * 32], [10, 19.8], rtol=1e-6)
    assert factors[:, ROTATION].min() == 0
    assert factors[:, ROTATION].max() == 359


def test_paper_setting_has_the_papers_ranges():
    balls = SportBalls()
    factors = np.stack([balls.example(index).factors for index in range(1500)])
    offsets = factors[:, [X, Y]] * 64 - 16
    assert (offsets.min(), offsets.max()) == (0, 31)
    np.testing.assert_array_equal(offsets, np.rint(offsets))
    scales = factors[:, SIZE] * 64 / 32
    np.testing.assert_allclose([scales.min(), scales.max()], [0.3, 0.79], rtol=1e-6)


def test_paper_draws_leak_the_class_into_the_geometry():
    balls = SportBalls(independent_draws=False)
    examples = [balls.example(index) for index in range(400)]
    labels = np.array([example.label for example in examples])
    factors = np.stack([example.factors for example in examples])
    assert set(labels) == {0, 1, 2, 3}
    np.testing.assert_array_equal((factors[:, X] * 64 - 16) % 4, labels)
    np.testing.assert_array_equal(factors[:, ROTATION] % 4, labels)
    np.testing.assert_array_equal(np.rint(factors[:, SIZE] * 64 / 32 * 100) % 2, labels % 2)
    # The second coordinate is a second draw: within a class it takes all residues.
    assert {(label, y % 4) for label, y in zip(labels, factors[:, Y] * 64 - 16, strict=True)} == {
        (label, residue) for label in range(4) for residue in range(4)
    }


@pytest.mark.parametrize("size", [32, 64])
def test_ball_is_where_the_factors_say(size):
    settings = {"ball_size": 0.625, "scale_range": (0.5, 1.0)} if size == 32 else {}
    balls = SportBalls(image_size=size, **settings)
    middles = np.arange(size) + 0.5
    for index in range(200):
        image, _, factors = balls.example(index)
        x, y, diameter = factors[:3] * size
        distance = np.hypot(middles - x, (middles - y)[:, None])
        # A pixel reaches 0.71 from its middle, the soft edge of the ball 0.3 further.
        assert (image[distance > diameter / 2 + 1] == 255).all()
        rows, columns = np.nonzero(image.min(axis=2) < 250)
        for centre, found in ((x, columns), (y, rows)):
            # The outermost pixel touched starts within one pixel of the edge, and the edge is soft by 0.3.
            assert abs(found.min() - (centre - diameter / 2)) <= 1.3
            assert abs(found.max() + 1 - (centre + diameter / 2)) <= 1.3
        # The rim is a closed dark ring, so its own centre of mass is the ball's.
        rim = np.where(abs(distance - diameter / 2) < 1.5, 255.0 - image.mean(axis=2), 0)
        assert abs((rim.sum(axis=0) * middles).sum() / rim.sum() - x) < 0.5
        assert abs((rim.sum(axis=1) * middles).sum() / rim.sum() - y) < 0.5


def test_every_ball_lies_on_the_canvas(balls, examples, factors):
    assert (factors[:, [X, Y]] - factors[:, [SIZE]] / 2 >= 0).all()
    assert (factors[:, [X, Y]] + factors[:, [SIZE]] / 2 <= 1).all()
    # Offsets are whole pixels, so an uncut ball is the ball in the middle of the canvas, moved;
    # the softness of the largest ball's edge may reach a fifth of a pixel over the border, a few grey levels.
    for image, label, (x, y, size, rotation) in examples[:200]:
        middle = balls.render(label, 0.5, 0.5, float(size), float(rotation))
        moved = np.roll(middle, (round(float(y) * 32) - 16, round(float(x) * 32) - 16), axis=(0, 1))
        assert np.abs(image.astype(int) - moved).max() <= 5


def test_rotation_is_counter_clockwise_in_degrees():
    balls = SportBalls(image_size=64)
    for label in range(4):
        upright = balls.render(label, 0.5, 0.5, 0.75, 0)
        for quarter in (1, 2, 3):
            turned = balls.render(label, 0.5, 0.5, 0.75, 90 * quarter)
            assert np.abs(turned.astype(int) - np.rot90(upright, quarter)).max() <= 3
        turned = balls.render(label, 0.5, 0.5, 0.75, 25).astype(int)
        by_pillow = np.array(Image.fromarray(upright).rotate(25, Image.Resampling.BICUBIC, fillcolor="white"))
        assert np.abs(turned - by_pillow).mean() < 0.2 * np.abs(turned.astype(int) - upright).mean()


def test_classes_differ_at_the_smallest_size(balls):
    """The mean colours of any two balls of 10 pixels differ clearly, whatever their rotation."""
    means = np.array(
        [
            [balls.render(label, 0.5, 0.5, 10 / 32, angle)[13:19, 13:19].mean(axis=(0, 1)) for angle in (0, 45, 111)]
            for label in range(4)
        ]
    )
    for one in range(4):
        for other in range(one):
            gaps = np.linalg.norm(means[one][:, None] - means[other][None], axis=-1)
            assert gaps.min() > 25


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"ball_size": 1.0}, "ball_size"),
        ({"scale_range": (0.8, 0.3)}, "scale_range"),
        ({"scale_range": (0.0, 0.5)}, "scale_range"),
        ({"scale_range": (0.5, 1.2)}, "scale_range"),
        ({"seed": -1}, "seed"),
        ({"classes": ["baseball", "puck"]}, "puck"),
        ({"classes": ["soccer", "soccer"]}, "classes"),
    ],
)
def test_bad_arguments_are_named(arguments, word):
    with pytest.raises(ValueError, match=word):
        SportBalls(**arguments)


def test_classes_choose_and_order_the_balls(balls):
    pair = SportBalls(image_size=32, ball_size=0.625, scale_range=(0.5, 1.0), classes=["soccer", "baseball"])
    assert pair.classes == ("soccer", "baseball")
    np.testing.assert_array_equal(pair.render(0, 0.5, 0.5, 0.5, 0), balls.render(3, 0.5, 0.5, 0.5, 0))
    assert {pair.example(index).label for index in range(50)} == {0, 1}
