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

"""The shape of what the pilot sees: one definition for training and inference."""

import numpy as np

HEIGHT, WIDTH = 72, 96  # px, every camera image is brought to this size
PATCH = 8  # px
TAN_HALF = 1.0  # tangent of half the horizontal field of view that was trained on
ROWS, COLUMNS = HEIGHT // PATCH, WIDTH // PATCH
TOKENS = ROWS * COLUMNS
STEM = 4  # px, side of the linear patch embedding below the tokens
STEM_CHANNELS, CHANNELS = 32, 64
MIXES = 3  # residual 3x3 convolutions over the tokens
GROUND_CHANNELS, VALUE_CHANNELS = 48, 16
BAND = 5  # token rows 0..BAND-1 are the upper obstacle band, the rest the lower one
POOLED = 5 + VALUE_CHANNELS  # presence, x, y, spread, area, values
LOCATED = 3  # bearing, elevation, log gap
VISION_FEATURES = POOLED + LOCATED + 2 * COLUMNS
MOTION_FEATURES = 7  # velocity 3, yaw rate, roll, pitch, valid
LOG_GAP_OFFSET = 0.3  # m, the located gap is log(gap + offset)


def token_centres() -> np.ndarray:
    """Return image coordinates of the tokens, float32 [TOKENS, 2], x right and y down in ±1."""
    y, x = np.meshgrid((np.arange(ROWS) + .5) / ROWS * 2 - 1,
                       (np.arange(COLUMNS) + .5) / COLUMNS * 2 - 1, indexing='ij')
    return np.stack([x, y], -1).reshape(TOKENS, 2).astype(np.float32)
