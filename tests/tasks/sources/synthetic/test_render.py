"""The renderer against closed forms: projections, shadows and reflections worked out by hand."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.sources.synthetic.lighting import FIRST_SOLID, GROUND, SKY, WALL
from tasks.sources.synthetic.render import (
    all_solids,
    coverage,
    expose,
    expose_without,
    look,
    render,
    rendering_of,
)
from tasks.sources.synthetic.scene import Scene, Solid, World, draw_scene, without

SceneMaker = Callable[..., Scene]


def project(scene: Scene, x: float, y: float, z: float) -> tuple[float, float]:
    """Pinhole formula: row and column of a point in the world, as shares of the image's side."""
    cos, sin = math.cos(scene.camera_pitch), math.sin(scene.camera_pitch)
    y -= scene.camera_height
    ahead = z * cos - y * sin
    up = y * cos + z * sin
    return (1 - up / ahead / scene.half_view) / 2, (1 + x / ahead / scene.half_view) / 2


def at(image: NDArray, place: tuple[float, float]) -> NDArray:
    return image[int(place[0] * len(image)), int(place[1] * len(image))]


def ground_points(scene: Scene, size_px: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where each pixel's middle ray would meet the ground: x and z, S×S, nan above the horizon."""
    place = ((np.arange(size_px) + 0.5) / size_px * 2 - 1) * scene.half_view
    right, up = np.meshgrid(place, -place)
    cos, sin = math.cos(scene.camera_pitch), math.sin(scene.camera_pitch)
    down = sin - up * cos
    far = np.where(down > 0, scene.camera_height / np.where(down > 0, down, 1), np.nan)
    return far * right, far * (cos + up * sin)


def brightness(image: NDArray[np.uint8]) -> NDArray[np.int64]:
    return image.astype(np.int64).sum(axis=2)


def test_a_spheres_outline_is_the_closed_forms_ellipse(make_scene: SceneMaker) -> None:
    ball = Solid(shape="sphere", x=0.9, z=4.6, radius=0.45, height=1, turn=0, color=(1, 0, 0))
    scene = make_scene(ball)
    cos, sin = math.cos(scene.camera_pitch), math.sin(scene.camera_pitch)
    drop = ball.radius - scene.camera_height
    right, up, ahead = ball.x, drop * cos + ball.z * sin, ball.z * cos - drop * sin
    away = math.sqrt(right**2 + up**2 + ahead**2)
    off_axis, half_angle = math.acos(ahead / away), math.asin(ball.radius / away)
    squeeze = math.cos(off_axis) ** 2 - math.sin(half_angle) ** 2
    long_axis = math.sin(half_angle) * math.cos(half_angle) / squeeze
    short_axis = math.sin(half_angle) / math.sqrt(squeeze)
    reach = (math.tan(off_axis + half_angle) + math.tan(off_axis - half_angle)) / 2
    centre = reach * np.array([-up, right]) / math.hypot(right, up)

    size = 512
    shown = coverage(render(scene, size).classes, 0, size)
    pixels = size / 2 / scene.half_view
    assert shown.sum() == pytest.approx(math.pi * long_axis * short_axis * pixels**2, rel=2e-3)
    rows, columns = np.mgrid[:size, :size] + 0.5
    middle = np.array([(rows * shown).sum(), (columns * shown).sum()]) / shown.sum()
    np.testing.assert_allclose(middle, size / 2 + centre * pixels, atol=0.1)


@pytest.mark.parametrize(("row", "column"), [(40, 8), (63, 63), (33, 31)])
def test_the_grounds_depth_is_the_formulas(make_scene: SceneMaker, row: int, column: int) -> None:
    scene = make_scene()
    right = ((column + 0.5) / 32 - 1) * scene.half_view
    up = (1 - (row + 0.5) / 32) * scene.half_view
    below = math.atan(-up) + scene.camera_pitch
    along_the_middle = scene.camera_height / math.sin(below)
    # The ray leans sideways by ``right`` for each sqrt(1 + up²) it goes ahead.
    expected = along_the_middle * math.hypot(1, right / math.hypot(1, up))
    seen = render(scene, 64, supersample=1)
    assert seen.classes[row, column] == GROUND
    assert seen.depth[row, column] == pytest.approx(expected, rel=1e-5)


def test_classes_split_at_the_wall_and_the_horizon(make_scene: SceneMaker) -> None:
    walled, open_field = make_scene(wall_z=8.0), make_scene()
    foot = project(walled, 0, 0, 8.0)[0] * 200
    column = render(walled, 200, supersample=1).classes[:, 100]
    assert (column == GROUND).sum() == pytest.approx(200 - foot, abs=1)
    assert (column == WALL).sum() == pytest.approx(foot, abs=1)
    horizon = (1 - math.tan(open_field.camera_pitch) / open_field.half_view) / 2 * 200
    seen = render(open_field, 200, supersample=1)
    assert (seen.classes[:, 100] == SKY).sum() == pytest.approx(horizon, abs=1)
    assert np.isinf(seen.depth[seen.classes == SKY]).all()


def test_a_hard_shadow_covers_exactly_what_trigonometry_says(make_scene: SceneMaker, post: Solid) -> None:
    scene = make_scene(post, sun_strength=0.6, sun_elevation=0.6, sun_azimuth=-1.9)
    size = 400
    shadow = render(scene, size, supersample=1)
    lit = render(without(scene, 0), size, supersample=1)
    changed = brightness(shadow.image) < brightness(lit.image)
    length = post.height / math.tan(scene.sun_elevation)
    run = np.array([-math.sin(scene.sun_azimuth), -math.cos(scene.sun_azimuth)]) * length
    x, z = ground_points(scene, size)
    # The shadow of a cylinder: all points within its radius of the segment from its foot to its top's shadow.
    share = np.clip(((x - post.x) * run[0] + (z - post.z) * run[1]) / length**2, 0, 1)
    off = np.hypot(x - post.x - share * run[0], z - post.z - share * run[1])
    ground = shadow.classes == GROUND
    inside, outside = ground & (off < post.radius - 0.01), ground & (off > post.radius + 0.01)
    assert inside.sum() > 1000
    assert changed[inside].all()
    np.testing.assert_array_equal(shadow.image[outside], lit.image[outside])


def test_a_hard_shadows_tip_lies_at_the_height_over_the_tangent(make_scene: SceneMaker, post: Solid) -> None:
    scene = make_scene(post, sun_strength=0.6, sun_elevation=0.55, sun_azimuth=-math.pi / 2)
    tip = post.x + post.height / math.tan(0.55) + post.radius
    image = brightness(render(scene, 512).image)
    lit = brightness(render(without(scene, 0), 512).image)
    before, beyond = (project(scene, tip + step, 0, post.z) for step in (-0.04, 0.04))
    assert at(image, before) < at(lit, before) - 60
    assert at(image, beyond) == at(lit, beyond)


@pytest.mark.parametrize(
    ("azimuth", "rows", "columns"),
    [(0.0, 1, 0), (math.pi, -1, 0), (math.pi / 2, 0, -1), (-math.pi / 2, 0, 1)],
    ids=["sun ahead", "sun behind", "sun right", "sun left"],
)
def test_a_shadow_falls_away_from_the_sun(
    make_scene: SceneMaker, post: Solid, azimuth: float, rows: int, columns: int
) -> None:
    scene = make_scene(replace(post, x=0.0), sun_strength=0.6, sun_azimuth=azimuth, sun_elevation=0.2)
    change = brightness(render(without(scene, 0), 128).image) - brightness(render(scene, 128).image)
    effect = (change > 30) & (coverage(render(scene, 128).classes, 0, 128) == 0)
    foot = project(scene, 0, 0, post.z)
    middle = np.argwhere(effect).mean(axis=0) - np.array(foot) * 128
    for moved, way in zip(middle, (rows, columns), strict=True):
        assert moved * way > 5 if way else abs(moved) < 8


def test_a_soft_suns_shadow_is_the_mean_of_six_hard_ones(make_scene: SceneMaker) -> None:
    drum = Solid(shape="cylinder", x=0.2, z=5.0, radius=0.6, height=0.6, turn=0, color=(0.8, 0.1, 0.1))
    scene = make_scene(drum, sun_strength=0.6, sun_elevation=0.45, sun_azimuth=-1.8, sun_softness=0.12)
    seen = render(scene, 300, supersample=1)
    x, z = ground_points(scene, 300)
    hidden, unsure = np.zeros(x.shape, int), np.zeros(x.shape, bool)
    for sun in sun_disc(scene):
        run = -sun[[0, 2]] * drum.height / sun[1]
        share = np.clip(((x - drum.x) * run[0] + (z - drum.z) * run[1]) / (run @ run), 0, 1)
        off = np.hypot(x - drum.x - share * run[0], z - drum.z - share * run[1]) - drum.radius
        hidden += off < 0
        unsure |= np.abs(off) < 0.01
    plain = (seen.classes == GROUND) & ~unsure
    levels = (0.4 + 0.6 * (1 - hidden / 6)) * 0.5
    assert {*np.unique(hidden[plain])} == set(range(7))
    np.testing.assert_allclose(seen.image[plain][:, 0], levels[plain] ** (1 / 2.2) * 255, atol=0.51)


def sun_disc(scene: Scene) -> list[NDArray[np.float64]]:
    """The sun's centre and five directions evenly about it, the first to its right as it sees the ground."""
    level = math.cos(scene.sun_elevation)
    azimuth = scene.sun_azimuth
    centre = np.array([level * math.sin(azimuth), math.sin(scene.sun_elevation), level * math.cos(azimuth)])
    right = np.array([-math.cos(azimuth), 0, math.sin(azimuth)])
    upward = np.cross(right, centre)
    turns = (2 * math.pi * k / 5 for k in range(5))
    return [centre] + [
        centre + scene.sun_softness * (math.cos(a) * right + math.sin(a) * upward) for a in turns
    ]


def test_a_mirrored_ball_has_the_outline_of_a_ball_below_the_ground(make_scene: SceneMaker) -> None:
    ball = Solid(shape="sphere", x=0.7, z=4.8, radius=0.5, height=1, turn=0, color=(0.9, 0, 0))
    scene = make_scene(ball, gloss=1.0)
    seen = render(scene, 300, supersample=1)
    x, z = ground_points(scene, 300)
    ray = np.stack([x, np.full(x.shape, -scene.camera_height), z])
    below = np.array([ball.x, -ball.radius - scene.camera_height, ball.z])
    away = math.sqrt(below @ below)
    angle = np.arccos(np.tensordot(below / away, ray / np.linalg.norm(ray, axis=0), axes=1))
    half_angle = math.asin(ball.radius / away)
    ground = seen.classes == GROUND
    inside, outside = ground & (angle < half_angle - 0.002), ground & (angle > half_angle + 0.002)
    is_ball = seen.image[..., 1] == 0
    assert inside.sum() > 2000
    assert is_ball[inside].all()
    assert not is_ball[outside].any()


def test_a_glossy_ground_shows_the_mirrored_object(make_scene: SceneMaker, post: Solid) -> None:
    scene = make_scene(post, gloss=1.0)
    image = render(scene, 512).image
    front = post.z - post.radius
    side = at(image, project(scene, post.x, 0.5 * post.height, front))
    reflected, sky = (
        at(image, project(scene, post.x, -share * post.height, front)) for share in (0.97, 1.03)
    )
    np.testing.assert_array_equal(at(image, project(scene, post.x, -0.5 * post.height, front)), side)
    np.testing.assert_array_equal(reflected, side)
    np.testing.assert_array_equal(sky, np.rint(np.array(scene.sky) ** (1 / 2.2) * 255))


def test_a_dim_mirror_mixes_in_linear_light(make_scene: SceneMaker, post: Solid) -> None:
    scene = make_scene(post, gloss=0.3)
    place = project(scene, post.x, -0.5 * post.height, post.z - post.radius)
    linear = 0.7 * 0.5 * 1.0 + 0.3 * np.array(post.color) * 0.75
    np.testing.assert_allclose(at(render(scene, 512).image, place), linear ** (1 / 2.2) * 255, atol=1)


def test_a_solid_left_out_of_the_casters_is_seen_without_effect(make_scene: SceneMaker, post: Solid) -> None:
    scene = make_scene(post, sun_strength=0.6, gloss=0.4)
    pasted, empty = render(scene, 96, casters=frozenset()), render(without(scene, 0), 96)
    off = coverage(pasted.classes, 0, 96) == 0
    np.testing.assert_array_equal(pasted.image[off], empty.image[off])
    assert (pasted.image[~off] != empty.image[~off]).any()


@pytest.mark.parametrize("seed", range(6))
def test_tracing_only_touched_rays_gives_the_whole_renderings_image(seed: int) -> None:
    scene = draw_scene(
        seed, World(grounds="mixed", shadow_fraction=1, gloss_fraction=seed % 2, max_objects=5, apart=False)
    )
    sight = look(scene, 48)
    light = expose(sight, all_solids(scene))
    for solid in all_solids(scene):
        quick = rendering_of(sight, expose_without(sight, light, solid)).image.astype(int)
        whole = render(without(scene, solid), 48).image
        assert np.abs(quick - whole).max() <= 1
        assert np.mean(quick != whole) < 1e-3


def test_large_images_are_traced_in_bands_that_fit_together() -> None:
    scene = draw_scene(4, World(grounds="mixed", shadow_fraction=1, gloss_fraction=1))
    one_band, many = render(scene, 180, supersample=1), render(scene, 180, supersample=3)
    # The middle subpixel of nine is the single ray of the coarse image.
    np.testing.assert_array_equal(many.classes[1::3, 1::3], one_band.classes)
    assert (many.classes >= FIRST_SOLID).any()


def test_a_pixels_depth_is_its_nearest_rays() -> None:
    scene = draw_scene(4, World())
    coarse, fine = render(scene, 60, supersample=3), render(scene, 180, supersample=1)
    nearest = fine.depth.reshape(60, 3, 60, 3).min(axis=(1, 3))
    np.testing.assert_array_equal(coarse.depth, nearest)
    assert (fine.depth[1::3, 1::3] != nearest).any()
