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
The simulator as a Gymnasium environment (extra `sim`).

``gymnasium.make('EdgeVla-v0')`` works after importing this module. Actions are heading-frame
velocity and yaw rate; the reward is the progress towards obeying the instruction, minus one for
a collision. ``info['expert']`` holds what the privileged expert would do, for imitation.
"""

from string import printable
from typing import Any

from edge_vla.config import CameraConfig, SimConfig
from edge_vla.exceptions import ConfigError, MissingDependencyError
from edge_vla.language.plan import VERBS
from edge_vla.policy.liquid import ACTION_SCALE
from edge_vla.sim.expert import Expert
from edge_vla.sim.judge import Judge
from edge_vla.sim.simulator import Simulator
import numpy as np

try:
    import gymnasium
    from gymnasium import spaces
except ImportError as error:
    raise MissingDependencyError(
        "gymnasium is not installed: pip install 'edge_vla[sim]'") from error


class EdgeVlaEnv(gymnasium.Env):
    """
    One instruction per episode.

    Observation: ``image`` uint8 [H, W, 3] RGB; ``motion`` float32 [6], heading-frame velocity
    (m/s), yaw rate (rad/s), roll, pitch (rad); ``instruction`` text. Action: float32 [4],
    velocity x y z (m/s, heading frame) and yaw rate (rad/s).

    Parameters
    ----------
    sim : SimConfig, optional
    camera : CameraConfig, optional
    task : str, optional
        One of ``TASKS``; default is the standard mix.

    """

    metadata = {'render_modes': ['rgb_array']}

    def __init__(self, sim: SimConfig | None = None, camera: CameraConfig | None = None,
                 task: str | None = None, render_mode: str | None = None) -> None:
        self._sim = Simulator(sim, camera)
        self._task = task
        self.render_mode = render_mode
        c = self._sim.camera
        self._step_ns = round(1e9 / c.rate)
        self.metadata = self.metadata | {'render_fps': round(c.rate)}
        limit = ACTION_SCALE.astype(np.float32)
        self.action_space = spaces.Box(-limit, limit, dtype=np.float32)
        self.observation_space = spaces.Dict({
            'image': spaces.Box(0, 255, (c.height, c.width, 3), np.uint8),
            'motion': spaces.Box(-np.inf, np.inf, (6,), np.float32),
            'instruction': spaces.Text(400, min_length=0, charset=printable)})

    def reset(self, *, seed: int | None = None,
              options: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start an episode; ``options={'task': ...}`` overrides the task."""
        super().reset(seed=seed)
        sim = self._sim
        world = int(self.np_random.integers(2**31))
        task = (options or {}).get('task', self._task)
        if task == 'two_step':
            raise ConfigError('an episode has one step: two_step has two')
        sim.reset(world, task)
        self._judge = Judge(sim.scene, sim.plan, sim.position, sim.yaw, sim.time_ns)
        self._expert = Expert(VERBS.index(sim.plan.verb))
        self._progress = 0.0
        return self._observe(), self._info('running')

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Fly one camera period."""
        sim = self._sim
        a = np.clip(np.asarray(action, np.float64), -ACTION_SCALE, ACTION_SCALE)
        sim.command(a[:3], float(a[3]))
        sim.advance(self._step_ns)
        verdict = self._judge.update(sim.time_ns, sim.position, sim.velocity_world, sim.yaw)
        reward = verdict.progress - self._progress
        self._progress = verdict.progress
        failed = verdict.status in ('collision', 'lost')
        return (self._observe(), reward - float(failed), failed or verdict.status == 'success',
                verdict.status == 'timeout', self._info(verdict.status))

    def render(self) -> np.ndarray:
        """Return the camera image."""
        return self._sim.frame().image

    def _observe(self) -> dict[str, Any]:
        m = self._sim.motion()
        return {'image': self._sim.frame().image,
                'motion': np.array([*m.velocity, m.yaw_rate, m.roll, m.pitch], np.float32),
                'instruction': self._sim.plan.text()}

    def _info(self, status: str) -> dict[str, Any]:
        sim = self._sim
        return {'status': status, 'plan': sim.plan, 'expert': self._expert.act(
            sim.state, sim.rows, len(sim.scene.objects)).astype(np.float32)}


gymnasium.register('EdgeVla-v0', entry_point='edge_vla.sim.gym_env:EdgeVlaEnv')
