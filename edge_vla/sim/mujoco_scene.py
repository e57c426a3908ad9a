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

"""
A scene as a MuJoCo model, and MuJoCo's picture of it (extra `sim`).

MuJoCo is imported when first needed, since its choice of GL library is made then.
"""

import atexit
import ctypes
import math
import os
import sys
from typing import Any
import weakref

from edge_vla.config import CameraConfig
from edge_vla.exceptions import MissingDependencyError
from edge_vla.sim.dynamics import GRAVITY, GROUND, VEHICLE
from edge_vla.sim.raycast import A, B, BOX, C, CONE, COS, NOTHING, PILLAR, RED, SIN, SPHERE, X
import numpy as np

# The vehicle is a 2 kg quadrotor of 50 cm, in numbers much like PX4's x500.
MASS = 2.0  # kg
INERTIA = np.array([.0217, .0217, .04])  # kg m^2
ARM = .174  # m, of each rotor along body x and y
# Radius, m: no corner reaches as far as the 0.2 m that are judged, so that nothing stops it
# just short of a collision.
BODY = .17
DRAG_TORQUE = .016  # m, torque about a rotor's axis per thrust
ROTOR_LIMIT = 2.2 * GRAVITY * MASS / 4  # N
# x, y in arms and the sense of the torque on the body, rotor by rotor
ROTORS = ((1, -1, 1), (-1, 1, 1), (1, 1, -1), (-1, -1, -1))
TILE, CELLS = 512, 16  # px and cells of the ground's texture along a side
SKY = 64  # px of the sky's cube along a side
FAR_M = 150.0  # as far as the built-in camera sees
SHADOW_M = 26.0  # half side of the square in which shadows fall: past the border of a flight
CONE_SIDES = 48
_TYPES = {SPHERE: 'sphere', BOX: 'box', PILLAR: 'cylinder', CONE: 'mesh'}
_HINT = 'apt-get install libegl1 libgl1-mesa-dri, or libosmesa6 with MUJOCO_GL=osmesa'


def load_mujoco() -> Any:
    """
    Import MuJoCo with a GL library that works without a display.

    Returns
    -------
    module
        mujoco.

    Raises
    ------
    MissingDependencyError
        MuJoCo is not installed or its GL library cannot be loaded.

    """
    if sys.platform == 'linux' and 'mujoco' not in sys.modules:
        os.environ.setdefault('MUJOCO_GL', 'egl' if _egl_works() else 'osmesa')
    try:
        import mujoco
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "MuJoCo is not installed: pip install 'edge_vla[sim]'") from error
    except Exception as error:  # without their library the bindings fail in many ways
        raise _no_gl(error) from error
    return mujoco


def _no_gl(error: Exception) -> MissingDependencyError:
    return MissingDependencyError(
        f'MuJoCo cannot draw with MUJOCO_GL={os.environ.get("MUJOCO_GL", "")}: {_HINT} ({error})')


def _egl_works() -> bool:
    """Tell whether EGL has a device to draw with; once imported MuJoCo cannot change to OSMesa."""
    try:
        egl = ctypes.CDLL('libEGL.so.1')
    except OSError:
        return False
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    query = egl.eglGetProcAddress(b'eglQueryDevicesEXT')
    show = egl.eglGetProcAddress(b'eglGetPlatformDisplayEXT')
    if not query or not show:
        return False
    count, devices = ctypes.c_int(), (ctypes.c_void_p * 16)()
    any_pointer = ctypes.c_void_p
    ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int, any_pointer, any_pointer)(query)(
        16, devices, ctypes.addressof(count))
    display = ctypes.CFUNCTYPE(any_pointer, ctypes.c_uint, any_pointer, any_pointer)(show)
    egl.eglInitialize.argtypes = [any_pointer] * 3
    # 0x313f: EGL_PLATFORM_DEVICE_EXT, as MuJoCo does
    return any(egl.eglInitialize(display(0x313f, device, None), None, None)
               for device in devices[:count.value])


def build_model(mujoco: Any, rows: np.ndarray, light: np.ndarray, camera: CameraConfig) -> Any:
    """
    Compile objects, ground, sky, light and the vehicle.

    Parameters
    ----------
    mujoco : module
        What ``load_mujoco`` returned.
    rows : numpy.ndarray
        float64 [N, OBJECT_COLUMNS], the objects.
    light : numpy.ndarray
        float64 [LIGHT_COLUMNS], sun, sky and ground.
    camera : CameraConfig
        The vehicle's camera.

    Returns
    -------
    mujoco.MjModel
        Objects are the geoms 'object0' and so on, the vehicle is the body 'vehicle'.

    """
    model = mujoco.MjModel.from_xml_string(_xml(rows, light, camera))
    for name, pixels in (('ground', _ground(light)), ('sky', _sky(light))):
        start = model.texture(name).adr[0]
        model.tex_data[start:start + pixels.size] = pixels.ravel()
    return model


def _text(*values: float) -> str:
    return ' '.join(f'{v:.9g}' for v in values)


def _xml(rows: np.ndarray, light: np.ndarray, camera: CameraConfig) -> str:
    sun = light[0:3]
    fovy = 2 * math.degrees(math.atan(
        math.tan(math.radians(camera.fov) / 2) * camera.height / camera.width))
    meshes, geoms = '', ''
    for i, row in enumerate(rows):
        meshes += _cone(i, row) if row[0] == CONE else ''
        geoms += _geom(i, row)
    rotors = ''.join(f'<site name="rotor{i}" group="4" pos="{_text(x * ARM, y * ARM, 0)}"/>'
                     for i, (x, y, _) in enumerate(ROTORS))
    motors = ''.join(
        f'<general site="rotor{i}" gear="0 0 1 0 0 {sense * DRAG_TORQUE}" dyntype="filter" '
        f'dynprm="{VEHICLE[3]}" gainprm="1" ctrlrange="0 {ROTOR_LIMIT}"/>'
        for i, (_, _, sense) in enumerate(ROTORS))
    # With an extent of 1 all lengths are in metres. Endless ground would be drawn three times
    # slower. A texture is repeated per half length, hence the 2.
    return f"""
<mujoco>
  <option gravity="0 0 {-GRAVITY}"/>
  <statistic extent="1" center="0 0 0"/>
  <visual>
    <global offwidth="{camera.width}" offheight="{camera.height}"/>
    <quality shadowsize="1024" offsamples="0" numslices="48" numstacks="24"/>
    <headlight ambient="{_text(*[light[3]] * 3)}" diffuse="0 0 0" specular="0 0 0"/>
    <map znear=".02" zfar="{FAR_M}" shadowclip="{SHADOW_M}"/>
  </visual>
  <asset>
    {meshes}
    <texture name="ground" type="2d" builtin="flat" width="{TILE}" height="{TILE}"/>
    <texture name="sky" type="skybox" builtin="flat" width="{SKY}" height="{6 * SKY}"/>
    <material name="ground" texture="ground" texuniform="true" specular="0" reflectance="0"
      texrepeat="{_text(*[2 * light[6] / CELLS] * 2)}"/>
  </asset>
  <worldbody>
    <light type="directional" dir="{_text(*-sun)}" pos="{_text(*20 * sun)}"
      ambient="0 0 0" diffuse="{_text(*[light[4]] * 3)}"
      castshadow="{'true' if light[21] > 0 else 'false'}"/>
    <geom name="ground" type="plane" size="{2 * FAR_M} {2 * FAR_M} 30" material="ground"/>
    {geoms}
    <body name="vehicle">
      <freejoint/>
      <inertial pos="0 0 0" mass="{MASS}" diaginertia="{_text(*INERTIA)}"/>
      <geom type="cylinder" size="{BODY} {GROUND}" group="4"/>
      <camera name="camera" xyaxes="0 -1 0 0 0 1" fovy="{fovy}"/>
      {rotors}
    </body>
  </worldbody>
  <actuator>{motors}</actuator>
</mujoco>"""


def _geom(i: int, row: np.ndarray) -> str:
    kind, (a, b, c) = int(row[0]), row[[A, B, C]]
    size = {SPHERE: (a,), BOX: (a, b, c), PILLAR: (a, c), CONE: ()}[kind]
    shape = f'mesh="cone{i}"' if kind == CONE else f'size="{_text(*size)}"'
    half = math.atan2(row[SIN], row[COS]) / 2
    return (f'<geom name="object{i}" type="{_TYPES[kind]}" {shape} '
            f'pos="{_text(*row[X:X + 3])}" quat="{_text(math.cos(half), 0, 0, math.sin(half))}" '
            f'rgba="{_text(*row[RED:RED + 3])} 1"/>\n')


def _cone(i: int, row: np.ndarray) -> str:
    angles = np.arange(CONE_SIDES) * 2 * np.pi / CONE_SIDES
    base = np.stack([row[A] * np.cos(angles), row[A] * np.sin(angles),
                     np.full(CONE_SIDES, -row[C])], 1)
    return f'<mesh name="cone{i}" vertex="{_text(*base.ravel(), 0, 0, row[C])}"/>\n'


def _noise(rng: np.random.Generator, cells: int) -> np.ndarray:
    """Return smooth noise in [0, 1] that repeats itself, float64 [TILE, TILE]."""
    lattice, at = rng.random((cells, cells)), np.arange(TILE) * cells / TILE
    i = at.astype(int)
    f = at - i
    f, j = f * f * (3 - 2 * f), (i + 1) % cells
    lattice = lattice[i] * (1 - f)[:, None] + lattice[j] * f[:, None]
    return lattice[:, i] * (1 - f) + lattice[:, j] * f


def _ground(light: np.ndarray) -> np.ndarray:
    """Return one tile of the ground, uint8 [TILE, TILE, 3]: a check, or noise coarse or fine."""
    rng, kind = np.random.default_rng(int(light[8])), int(light[7])
    if kind == 0:
        cell = np.arange(TILE) * CELLS // TILE
        mix = ((cell[:, None] + cell) % 2).astype(float)
    else:
        mix = _noise(rng, CELLS)
        if kind == 2:
            mix = .6 * mix + .4 * _noise(rng, 3 * CELLS)
    return _bytes(light[9:12], light[12:15], mix)


def _sky(light: np.ndarray) -> np.ndarray:
    """Return the cube of the sky, uint8 [6 SKY, SKY, 3]: right, left, up, down, front, back."""
    v, u = 1 - 2 * (np.mgrid[:SKY, :SKY] + .5) / SKY
    up = 1 / np.sqrt(1 + u * u + v * v)
    faces = [v * up] * 2 + [up, -up] + [v * up] * 2
    height = np.concatenate(faces)  # sine of the elevation
    return _bytes(light[18:21], light[15:18], np.sqrt(np.clip(2.2 * height, 0, 1)))


def _bytes(a: np.ndarray, b: np.ndarray, mix: np.ndarray) -> np.ndarray:
    rgb = a + (b - a) * mix[..., None]
    return np.rint(255 * np.clip(rgb, 0, 1)).astype(np.uint8)


class View:
    """
    Draws what the vehicle's camera sees, without a window.

    Parameters
    ----------
    mujoco : module
        What ``load_mujoco`` returned.
    width, height : int
        Size of the picture, px.

    Raises
    ------
    MissingDependencyError
        There is no GL to draw with.

    """

    def __init__(self, mujoco: Any, width: int, height: int) -> None:
        self._mujoco, self._size = mujoco, (width, height)
        self._gl: Any = None
        self._context: Any = None
        try:
            self._gl = mujoco.GLContext(width, height)
        except Exception as error:  # each GL library has its own errors
            raise _no_gl(error) from error
        # at exit before the GL library goes, which had registered itself by now
        atexit.register(_close, weakref.ref(self))

    def show(self, model: Any, light: np.ndarray) -> None:
        """Draw this model, lit by this row (see ``raycast``), from now on."""
        mj = self._mujoco
        self._begin()
        if self._context is not None:
            self._context.free()
        self._context = mj.MjrContext(model, mj.mjtFontScale.mjFONTSCALE_50)
        mj.mjr_setBuffer(mj.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._model, self._scene = model, mj.MjvScene(model, 64)
        flag, flags = mj.mjtRndFlag, self._scene.flags
        flags[flag.mjRND_SHADOW] = light[21] > 0
        flags[flag.mjRND_HAZE] = flags[flag.mjRND_REFLECTION] = 0
        self._option, self._camera = mj.MjvOption(), mj.MjvCamera()
        self._camera.type, self._camera.fixedcamid = mj.mjtCamera.mjCAMERA_FIXED, 0

    def _begin(self) -> None:
        if self._gl is None:
            raise RuntimeError('the view is closed')
        self._gl.make_current()

    def image(self, data: Any) -> np.ndarray:
        """Return the picture of a state, uint8 [height, width, 3] RGB."""
        mj, (width, height) = self._mujoco, self._size
        self._begin()
        # poses only: a full forward pass would touch what the next step starts from
        mj.mj_kinematics(self._model, data)
        mj.mj_camlight(self._model, data)
        mj.mjv_updateScene(self._model, data, self._option, None, self._camera,
                           mj.mjtCatBit.mjCAT_ALL, self._scene)
        image, window = np.empty((height, width, 3), np.uint8), mj.MjrRect(0, 0, width, height)
        mj.mjr_render(window, self._scene, self._context)
        mj.mjr_readPixels(image, None, window, self._context)
        return np.ascontiguousarray(image[::-1])

    def labels(self, data: Any) -> np.ndarray:
        """Return which object each pixel sees, int8 [height, width], NOTHING elsewhere."""
        flag, flags = self._mujoco.mjtRndFlag, self._scene.flags
        flags[flag.mjRND_SEGMENT] = flags[flag.mjRND_IDCOLOR] = 1
        try:
            codes = self.image(data).astype(int) @ (1, 256, 65536) - 1
        finally:
            flags[flag.mjRND_SEGMENT] = flags[flag.mjRND_IDCOLOR] = 0
        out = np.full(codes.shape, NOTHING, np.int8)
        for k in range(self._scene.ngeom):
            name = self._model.geom(self._scene.geoms[k].objid).name
            if name.startswith('object'):
                out[codes == self._scene.geoms[k].segid] = int(name[len('object'):])
        return out

    def close(self) -> None:
        """Give the GL resources back; nothing can be drawn any more."""
        if self._gl is None:
            return
        if self._context is not None:
            self._gl.make_current()
            self._context.free()
        self._gl.free()
        self._gl = self._context = None

    def __del__(self) -> None:
        self.close()


def _close(view: 'weakref.ref[View]') -> None:
    alive = view()
    if alive is not None:
        alive.close()
