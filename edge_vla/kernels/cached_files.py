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
Numba's cache after a power failure.

A file that is empty or cut off then ends every start with an EOFError, until somebody deletes it.
Here it is taken for one that is missing: what it held is compiled again, and written anew.
"""

from collections.abc import Callable
from typing import Any


def outlive_damage(kind: type) -> None:
    """
    Let a class of numba's cache files read damaged ones as missing.

    Parameters
    ----------
    kind : type
        ``numba.core.caching.IndexDataCacheFile``, or what other versions have instead: one
        without these methods stays as it is.

    """
    index, data = getattr(kind, '_load_index', None), getattr(kind, '_load_data', None)
    if index is not None and data is not None:
        kind._load_index = _or(index, lambda error: {})
        kind._load_data = _or(data, _missing)


def _or(method: Callable[..., Any], instead: Callable[[Exception], Any]) -> Callable[..., Any]:
    def load(*args: Any) -> Any:
        try:
            return method(*args)
        except OSError:
            raise
        except Exception as error:  # noqa: B902  what unpickles no pickle raises anything
            return instead(error)
    return load


def _missing(error: Exception) -> None:
    raise OSError(f'a damaged file of the cache ({error})') from error  # numba: as if not there
