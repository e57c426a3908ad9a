# Copyright 2026 The edge_vla authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.


"""Worlds and vehicle for Gazebo: valid, the same as the built-in simulator's, and flyable."""

import math
from pathlib import Path
import shutil
import subprocess
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from edge_vla.cli.main import main
from edge_vla.config import CameraConfig, SimConfig
from edge_vla.exceptions import ConfigError
from edge_vla.pipeline import Pipeline
from edge_vla.sim import raycast
from edge_vla.sim.dynamics import GRAVITY, GROUND, VEHICLE
from edge_vla.sim.gazebo import files, instruction
from edge_vla.sim.gazebo_scene import CONE, cone_mesh, display, linear, QUADROTOR, STEP_S, world
from edge_vla.sim.gazebo_vehicle import quadrotor
from edge_vla.sim.mujoco_scene import BODY, DRAG_TORQUE, INERTIA, MASS, ROTORS
from edge_vla.sim.scene import Scene, STYLES
from edge_vla.sim.simulator import Simulator
from edge_vla.sim.tasks import MISSIONS, TASKS
from hypothesis import given, settings, strategies as st
from multicopter import Multicopter, vector
import numpy as np
import pytest
import yaml

SEED = 55
# The part of the specification of SDFormat 1.9 that we use. An element has attributes (@),
# children, and a type unless it has children; ! is required, * may be repeated.
SPECIFICATION = """
sdf @version! world* model
world @name! physics! gravity! plugin* scene! light* model* include*
physics @name @type! max_step_size! real_time_factor!
max_step_size real_time_factor mass intensity radius length near far lower upper mu mu2 : number
ixx ixy ixz iyy iyz izz horizontal_fov update_rate : number
gravity direction normal xyz scale : number number number
pose : number number number number number number
ambient background diffuse specular : number number number number
shadows grid cast_shadows static always_on : truth
width height visibility_flags visibility_mask : count
uri parent child topic camera_info_topic optical_frame_id format : word
scene ambient! background! shadows! grid
light @name! @type! cast_shadows pose intensity diffuse specular direction!
model @name! static pose link* joint* plugin*
link @name! pose inertial collision* visual* sensor*
inertial mass inertia
inertia ixx! ixy! ixz! iyy! iyz! izz!
collision @name! geometry! surface
surface friction
friction ode
ode mu mu2
visual @name! pose cast_shadows visibility_flags material geometry!
geometry plane sphere box cylinder mesh
plane normal! size!
sphere radius!
box size!
cylinder radius! length!
mesh uri! scale
material ambient diffuse specular
include uri! pose
sensor @name! @type! topic update_rate always_on camera
camera camera_info_topic optical_frame_id horizontal_fov! image! clip! visibility_mask
image width! height! format
clip near! far!
joint @name! @type! parent! child! axis
axis xyz! limit!
limit lower! upper!
"""


def specification() -> dict[str, tuple[list[str], list[str]]]:
    """Return content and type of each element by its name."""
    out = {}
    for line in SPECIFICATION.strip().splitlines():
        names, _, kind = line.partition(' : ')
        if kind:
            out |= {name: ([], kind.split()) for name in names.split()}
        else:
            name, *content = line.split()
            out[name] = (content, [])
    return out


def check(element: Element, rules: dict, path: str = '') -> None:
    """Fail where an element is not what SDFormat says."""
    here = f'{path}/{element.tag}'
    if element.tag == 'plugin':
        assert set(element.attrib) == {'name', 'filename'}, here
        return
    if element.tag == 'size':  # of a plane two numbers, of a box three
        content, kind = [], ['number'] * (2 if path.endswith('plane') else 3)
    else:
        assert element.tag in rules, here
        content, kind = rules[element.tag]
    known = {word.strip('@!*'): word for word in content}
    inside = [f'@{a}' for a in element.attrib] + [child.tag for child in element]
    for name in inside:
        assert name.strip('@') in known, f'{here}: {name}'
        assert inside.count(name) == 1 or '*' in known[name.strip('@')], f'{here}: two {name}'
    for name, word in known.items():
        there = element.get(name) if '@' in word else element.find(name)
        assert '!' not in word or there is not None, f'{here}: no {name}'
    if kind:
        words = (element.text or '').split()
        assert len(words) == len(kind), f'{here}: {element.text!r}'
        for value, form in zip(words, kind, strict=True):
            assert form == 'word' or (value in ('true', 'false') if form == 'truth' else
                                      value.isdecimal() if form == 'count' else
                                      math.isfinite(float(value))), f'{here}: {value!r}'
    names = [c.get('name') for c in element if c.get('name') and c.tag != 'plugin']
    assert len(names) == len(set(names)), f'{here}: a name twice'
    for child in element:
        check(child, rules, here)


@pytest.fixture(scope='module')
def made() -> dict[str, str]:
    """Return what the committed files were made as."""
    return files(SimConfig(seed=SEED), (*TASKS, *MISSIONS))


def test_the_committed_files_are_what_is_generated(made: dict[str, str], root: Path) -> None:
    there = {p.relative_to(root).as_posix() for folder in ('worlds', 'models')
             for p in (root / folder).rglob('*') if p.is_file()}
    assert there == set(made), 'edge-vla world . writes them'
    for name, content in made.items():
        assert (root / name).read_text(encoding='utf-8') == content, \
            f'{name} is old: edge-vla world . writes it anew'


@pytest.mark.parametrize('gazebo', ['harmonic', 'fortress'])
def test_every_file_is_valid(made: dict[str, str], gazebo: str) -> None:
    every = files(SimConfig(seed=SEED), (*TASKS, *MISSIONS), gazebo=gazebo)
    rules = specification()
    for name, content in every.items():
        if name.endswith('.sdf'):
            top = ElementTree.fromstring(content)
            assert top.tag == 'sdf' and top.get('version') == '1.9' and len(top) == 1
            check(top, rules)
    prefix, space = ('gz-sim', 'gz::sim') if gazebo == 'harmonic' else (
        'ignition-gazebo', 'ignition::gazebo')
    plugins = [p for n, c in every.items() if n.endswith('.sdf')
               for p in ElementTree.fromstring(c).iter('plugin')]
    assert len(plugins) == 5 * 7 + 6
    for plugin in plugins:
        assert plugin.get('filename').startswith(f'{prefix}-')
        assert plugin.get('filename').endswith('-system')
        assert plugin.get('name').startswith(f'{space}::systems::')


def test_the_check_finds_faults(made: dict[str, str]) -> None:
    text, rules = made['worlds/go.sdf'], specification()
    for old, new in (('<radius>', '<radius>x'), ('intensity', 'brightness'),
                     ('<size>600 600</size>', '<size>600 600 1</size>'),
                     ('<shadows>true</shadows>', ''), ('name="white_sphere"', 'name="ground"'),
                     ('<grid>false', '<grid>no'), (' type="directional"', '')):
        assert old in text
        with pytest.raises((AssertionError, ValueError)):
            check(ElementTree.fromstring(text.replace(old, new)), rules)


@pytest.mark.skipif(not (shutil.which('gz') or shutil.which('ign')),
                    reason='Gazebo is not installed: its own parser is not asked')
def test_gazebos_own_parser_agrees(made: dict[str, str], root: Path,
                                   monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ('SDF_PATH', 'GZ_SIM_RESOURCE_PATH', 'IGN_GAZEBO_RESOURCE_PATH'):
        monkeypatch.setenv(name, str(root / 'models'))
    for name in made:
        if name.endswith('.sdf'):
            done = subprocess.run([shutil.which('gz') or 'ign', 'sdf', '--check',
                                   str(root / name)], capture_output=True, text=True)
            assert done.returncode == 0 and 'Valid' in done.stdout, done.stdout + done.stderr


def numbers(element: Element, path: str) -> np.ndarray:
    """Return the numbers of what lies at a path."""
    return vector(element.find(path))


def size(shape: Element) -> np.ndarray:
    """Return half extents of a geometry."""
    kind, = shape
    if kind.tag == 'sphere':
        return np.repeat(numbers(kind, 'radius'), 3)
    if kind.tag == 'cylinder':
        radius, length = numbers(kind, 'radius')[0], numbers(kind, 'length')[0]
        return np.array([radius, radius, length / 2])
    return numbers(kind, 'scale') if kind.tag == 'mesh' else numbers(kind, 'size') / 2


def compare(top: Element, scene: Scene) -> None:
    """Fail where a world is not the scene."""
    tags = {'sphere': 'sphere', 'box': 'box', 'pillar': 'cylinder', 'cone': 'mesh'}
    models = {m.get('name'): m for m in top.findall('model')}
    assert len(models) == len(scene.objects) + 2
    assert all(m.findtext('static') == 'true' for m in models.values())
    for o in scene.objects:
        model = models[f'{o.colour}_{o.shape}']
        pose = numbers(model, 'pose')
        np.testing.assert_allclose(pose[:3], o.position, rtol=1e-5, atol=1e-6)
        assert abs(math.remainder(pose[5] - o.yaw, 2 * math.pi)) < 1e-5 and not pose[3:5].any()
        for kind in ('collision', 'visual'):
            shape = model.find(f'link/{kind}/geometry')
            assert shape[0].tag == tags[o.shape]
            np.testing.assert_allclose(size(shape), o.size, rtol=1e-5)
        shown = display(numbers(model, 'link/visual/material/diffuse')[:3])
        np.testing.assert_allclose(shown, o.rgb, atol=1e-5)
    light = scene.light
    ambient = numbers(top, 'scene/ambient')[0]
    full = ambient + numbers(top, 'light/intensity')[0] * numbers(top, 'light/diffuse')[0]
    np.testing.assert_allclose(display(ambient), light[3], atol=1e-5)
    np.testing.assert_allclose(display(full), light[3] + light[4], atol=1e-5)
    np.testing.assert_allclose(numbers(top, 'light/direction'), -light[:3], atol=1e-5)
    assert {top.findtext('scene/shadows'), top.findtext('light/cast_shadows')} == {
        str(light[21] > 0).lower()}
    ground = display(numbers(models['ground'], 'link/visual/material/diffuse')[:3])
    np.testing.assert_allclose(ground, (light[9:12] + light[12:15]) / 2, atol=1e-5)
    x, y, z, yaw = scene.start
    np.testing.assert_allclose(numbers(top, 'include/pose'), [x, y, z, 0, 0, yaw], rtol=1e-5)
    stand = models['start_stand']
    assert stand.find('link/visual') is None
    height = numbers(stand, 'pose')[2] + size(stand.find('link/collision/geometry'))[2]
    assert height == pytest.approx(z - GROUND, abs=1e-5)
    np.testing.assert_allclose(numbers(stand, 'pose')[:2], [x, y])


def test_worlds_are_the_simulators_scenes(made: dict[str, str]) -> None:
    said = yaml.safe_load(made['worlds/tasks.yaml'])
    assert list(said) == [*TASKS, *MISSIONS]
    for task, sentence in said.items():
        simulator = Simulator(SimConfig(seed=SEED))
        simulator.reset(task=task)
        top = ElementTree.fromstring(made[f'worlds/{task}.sdf']).find('world')
        assert top.get('name') == task and sentence == instruction(simulator.asked)
        compare(top, simulator.scene)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), task=st.sampled_from((*TASKS, *MISSIONS)),
       style=st.sampled_from(STYLES))
def test_any_scene_comes_through(seed: int, task: str, style: str) -> None:
    simulator = Simulator(SimConfig(seed=seed, style=style))
    simulator.reset(task=task)
    top = ElementTree.fromstring(world(simulator.scene, 'any'))
    check(top, specification())
    compare(top.find('world'), simulator.scene)


def test_the_sentences_are_understood(made: dict[str, str], pilot: Pipeline) -> None:
    simulator = Simulator(SimConfig(seed=SEED))
    for task, sentence in yaml.safe_load(made['worlds/tasks.yaml']).items():
        simulator.reset(task=task)
        context = pilot.language.read(sentence)
        assert [step.plan for step in context.steps] == simulator.asked, sentence
        assert pilot.understands(context)


@given(st.floats(0, 1))
def test_colours_turn_back(value: float) -> None:
    assert display(linear(value)) == pytest.approx(value, abs=2e-6)
    assert 0 <= linear(value) <= value + 1e-12 <= 1 + 1e-12


def test_the_cone_is_the_simulators() -> None:
    points, normals, faces = [], [], []
    for line in cone_mesh().splitlines():
        kind, *words = line.split()
        if kind == 'v':
            points.append([float(w) for w in words])
        elif kind == 'vn':
            normals.append([float(w) for w in words])
        elif kind == 'f':
            faces.append([[int(i) - 1 for i in w.split('//')] for w in words])
    points, normals = np.array(points), np.array(normals)
    triangles = points[[[v for v, _ in face] for face in faces]]
    edges = [(f[i][0], f[(i + 1) % 3][0]) for f in faces for i in range(3)]
    assert len(set(edges)) == len(edges) and {(b, a) for a, b in edges} == set(edges), 'open'
    volume = np.linalg.det(triangles).sum() / 6
    assert volume == pytest.approx(2 * math.pi / 3, rel=.01), 'inside out, or no cone'
    outward = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    outward /= np.linalg.norm(outward, axis=1)[:, None]
    for face, n in zip(faces, outward, strict=True):
        for _, i in face:
            assert normals[i] @ n > .99
            assert np.linalg.norm(normals[i]) == pytest.approx(1, abs=1e-5)
    # a ray from the front meets the mesh where it meets the ray-caster's cone
    row = np.zeros(raycast.OBJECT_COLUMNS)
    row[raycast.KIND], row[raycast.A:raycast.C + 1], row[raycast.COS] = raycast.CONE, 1, 1
    for y, z in ((0, 0), (.3, -.5), (-.2, .4)):
        hit = raycast._hit(row, -5.0, y, z, 1.0, 0.0, 0.0, 1e9)
        reached = [x for x in (_across(t, y, z) for t in triangles) if x is not None]
        assert 5 + min(reached) == pytest.approx(hit[0], abs=5e-3)


def _across(triangle: np.ndarray, y: float, z: float) -> float | None:
    """Return x where the line along x through y, z meets a triangle."""
    a, b, c = triangle
    basis = np.stack([b - a, c - a, [-1, 0, 0]], 1)
    if abs(np.linalg.det(basis)) < 1e-12:
        return None
    u, v, x = np.linalg.solve(basis, np.array([0, y, z]) - a)
    return float(x) if u >= 0 and v >= 0 and u + v <= 1 else None


def test_what_is_referred_to_exists(made: dict[str, str]) -> None:
    uris = {e.text for n, c in made.items() if n.endswith('.sdf')
            for e in ElementTree.fromstring(c).iter('uri')}
    assert uris >= {f'model://{QUADROTOR}', f'model://{CONE}/meshes/cone.obj'}
    for uri in uris:
        path = 'models/' + uri.removeprefix('model://')
        assert path in made or f'{path}/model.sdf' in made
    for name in (QUADROTOR, CONE):
        config = ElementTree.fromstring(made[f'models/{name}/model.config'])
        assert config.findtext('name') == name and config.find('sdf').get('version') == '1.9'
        assert f'models/{name}/' + config.findtext('sdf') in made
        model = ElementTree.fromstring(made[f'models/{name}/model.sdf']).find('model')
        assert model.get('name') == name


@pytest.mark.parametrize('camera', [CameraConfig(), CameraConfig(97, 51, 61.5, 13.5)])
def test_the_camera_is_the_simulators(camera: CameraConfig) -> None:
    model = ElementTree.fromstring(quadrotor(camera)).find('model')
    body = model.find("link[@name='base_link']")
    sensor = body.find("sensor[@type='camera']")
    assert sensor.find('pose') is None, 'in the middle of the body, looking along x'
    assert numbers(sensor, 'update_rate') == camera.rate
    lens = sensor.find('camera')
    assert math.degrees(numbers(lens, 'horizontal_fov')[0]) == pytest.approx(camera.fov, 1e-4)
    assert [lens.findtext(f'image/{k}') for k in ('width', 'height', 'format')] == [
        str(camera.width), str(camera.height), 'R8G8B8']
    mask = int(lens.findtext('visibility_mask'))
    visuals = list(model.iter('visual'))
    assert len(visuals) == 7
    assert not any(mask & int(v.findtext('visibility_flags')) for v in visuals), 'sees itself'
    assert mask | 2 == 0xffffffff, 'sees all else'


def test_mass_and_inertia_are_physical(root: Path) -> None:
    vehicle = Multicopter(root / 'models' / QUADROTOR / 'model.sdf')
    assert vehicle.mass == pytest.approx(MASS)
    np.testing.assert_allclose(vehicle.inertia, np.diag(INERTIA), atol=1e-6)
    model = ElementTree.parse(root / 'models' / QUADROTOR / 'model.sdf').getroot().find('model')
    for link in model.findall('link'):
        moments = [numbers(link, f'inertial/inertia/i{a}{a}')[0] for a in 'xyz']
        assert min(moments) > 0 and 2 * max(moments) <= sum(moments) + 1e-12
    corner = numbers(model, 'link/collision/geometry/box/size') / 2
    assert math.hypot(*corner[:2]) == pytest.approx(BODY, rel=1e-4)
    assert corner[2] == pytest.approx(GROUND)
    # control and motors must agree on how each rotor turns, and neighbours turn apart
    control = next(p for p in model.findall('plugin') if p.get('name').endswith('VelocityControl'))
    ways = [int(r.findtext('direction')) for r in control.findall('rotorConfiguration/rotor')]
    assert ways == list(vehicle.turns) == [-s for _, _, s in ROTORS]
    assert sum(ways) == 0 and (ways @ vehicle.places[:, :2] == 0).all()
    assert (vehicle.torque == DRAG_TORQUE).all()
    motors = [p for p in model.findall('plugin') if p.get('name').endswith('MotorModel')]
    for name in ('actuator_number', 'motorNumber'):
        assert [m.findtext(name) for m in motors] == list('0123')


def flown(root: Path, command: tuple[float, float, float, float], seconds: float,
          ) -> tuple[Multicopter, np.ndarray]:
    """Return the vehicle after a step of the command, and heading velocity and tilt meanwhile."""
    vehicle, log = Multicopter(root / 'models' / QUADROTOR / 'model.sdf'), []
    for _ in range(round(seconds / STEP_S)):
        vehicle.fly(np.array(command[:3]), command[3], STEP_S)
        log.append([*vehicle.heading_velocity(), vehicle.tilt])
    return vehicle, np.array(log)


def test_it_hovers(root: Path) -> None:
    vehicle, log = flown(root, (0, 0, 0, 0), 3)
    assert np.abs(vehicle.position).max() < .01 and abs(vehicle.yaw) < 1e-3
    assert vehicle.speeds == pytest.approx(
        math.sqrt(MASS * GRAVITY / 4 / vehicle.thrust[0]), rel=1e-3)
    assert vehicle.speeds.max() < .75 * vehicle.fastest.min(), 'room to manoeuvre'


@pytest.mark.parametrize('command', [
    (1.5, 0, 0, 0), (-1, 0, 0, 0), (0, 1.2, 0, 0), (0, -1.2, 0, 0), (0, 0, .8, 0),
    (0, 0, -.8, 0), (1, .5, .3, 0)])
def test_it_flies_where_told(root: Path, command: tuple[float, float, float, float]) -> None:
    vehicle, log = flown(root, command, 4)
    wanted = np.array(command[:3])
    # without an integral the rotors' drag costs a share of the level speed
    share = np.array([1.8 / (1.8 + VEHICLE[1])] * 2 + [1.0])
    np.testing.assert_allclose(log[-1, :3], share * wanted, atol=.05)
    along = log[:, :3] @ wanted / (wanted @ wanted)
    assert along.max() < 1.1 and along[round(1 / STEP_S)] > .6, 'no overshoot, no crawl'
    assert log[:, 3].max() < math.radians(36)
    assert log[-250:, 3].std() < 1e-3, 'it shakes'
    assert abs(vehicle.yaw) < .02


@pytest.mark.parametrize('rate', [1.2, -1.2])
def test_it_turns(root: Path, rate: float) -> None:
    vehicle, log = flown(root, (0, 0, 0, rate), 3)
    assert vehicle.rates[2] == pytest.approx(rate, rel=.1)
    assert np.linalg.norm(vehicle.position) < .05 and vehicle.speeds.max() <= vehicle.fastest.min()


def test_it_comes_back_level(root: Path) -> None:
    vehicle = Multicopter(root / 'models' / QUADROTOR / 'model.sdf')
    c, s = math.cos(.6), math.sin(.6)
    vehicle.rotation = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    vehicle.rates = np.array([2.0, -1.0, .5])
    for _ in range(1500):
        vehicle.fly(np.zeros(3), 0.0, STEP_S)
    assert vehicle.tilt < .01 and np.abs(vehicle.velocity).max() < .02
    assert np.abs(vehicle.rates).max() < .01


def test_the_command(tmp_path: Path, made: dict[str, str], root: Path,
                     capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['world', str(tmp_path)]) == 0
    assert '13 files, 7 worlds' in capsys.readouterr().out
    assert {p.relative_to(tmp_path).as_posix(): p.read_text() for p in tmp_path.rglob('*')
            if p.is_file()} == made, 'the default seed makes the committed files'
    assert main(['world', str(tmp_path / 'own'), '--instruction', 'orbit the red cone',
                 '--style', 'winter', '--gazebo', 'fortress', '--seed', '3']) == 0
    text = (tmp_path / 'own/worlds/go.sdf').read_text()
    assert 'name="red_cone"' in text and 'ignition::gazebo' in text and 'gz::sim' not in text
    assert yaml.safe_load((tmp_path / 'own/worlds/tasks.yaml').read_text()) == {
        'go': 'orbit the red cone'}
    assert main(['world', str(tmp_path), '--instruction', 'orbit the red cone']) == 0
    told = yaml.safe_load((tmp_path / 'worlds/tasks.yaml').read_text())
    assert told == yaml.safe_load(made['worlds/tasks.yaml']) | {'go': 'orbit the red cone'}


def test_the_help_names_every_style(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(['world', '--help'])
    text = ' '.join(capsys.readouterr().out.split())
    assert f'{", ".join(STYLES[:-1])} or {STYLES[-1]}' in text


@pytest.mark.parametrize(('arguments', 'said'), [
    (('--task', 'land'), "unknown task 'land'; known: go,"),
    (('--seed', '-1'), 'seed: -1 is outside'),
    (('--style', 'moon'), "style: 'moon' is none of"),
    (('--task', 'relation', '--instruction', 'go to the red box'), 'makes its own instruction'),
])
def test_errors_are_one_line(arguments: tuple[str, ...], said: str, tmp_path: Path,
                             capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['world', str(tmp_path / 'out'), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith('edge-vla: ') and said in error and error.count('\n') == 1
    assert not (tmp_path / 'out').exists()


def test_a_folder_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'file').write_text('x')
    assert main(['world', str(tmp_path / 'file'), '--task', 'go']) == 2
    assert 'cannot be written to' in capsys.readouterr().err


def test_an_unknown_gazebo() -> None:
    with pytest.raises(ConfigError, match="unknown Gazebo 'classic'; known: harmonic, fortress"):
        files(SimConfig(), ('go',), gazebo='classic')
