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


"""What several test modules share."""

from pathlib import Path

from edge_vla.pipeline import Pipeline
from hypothesis import HealthCheck, settings
import pytest

ROOT = Path(__file__).resolve().parents[1]
# no test depends on how fast the machine is
settings.register_profile('untimed', deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile('untimed')


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let what is sampled be sampled more often: ``make test ARGS='--samples 1000000 -k law'``."""
    parser.addoption('--samples', type=int, default=10000,
                     help='how often tests of random laws draw')


@pytest.fixture(scope='session')
def samples(request: pytest.FixtureRequest) -> int:
    """Return how often to draw."""
    return request.config.getoption('samples')


@pytest.fixture(scope='session')
def pilot() -> Pipeline:
    """Return the shipped pilot, reading instructions inside its steps."""
    return Pipeline.load()


@pytest.fixture(scope='session')
def root() -> Path:
    """Return the repository's folder."""
    return ROOT
