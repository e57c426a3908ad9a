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
Which vector instructions the ternary kernels use: a value numba sees as a type of its own.

A kernel that takes an `Isa` is compiled, and cached, once for each. All of them give the same
integers; they differ in the instructions and in how many accumulators fit into registers.
"""

from collections.abc import Callable
import ctypes
from dataclasses import dataclass, replace
from functools import cache
import os
from pathlib import Path
import re
import sys
import zlib

from llvmlite import ir
import llvmlite.binding as llvm
import numba
from numba import types
from numba.extending import (
    intrinsic,
    models,
    NativeValue,
    overload,
    register_model,
    typeof_impl,
    unbox,
)


@dataclass(frozen=True)
class Isa:
    """
    An instruction set.

    Attributes
    ----------
    name : str
        A key of ISAS.
    packing : str
        How it likes ternary weights: '5bit' (three trits in five bits) or '2bit'.
    needs : tuple of str
        CPU features, in LLVM's words.
    many_registers : bool
        32 vector registers rather than 16.
    reading : str
        How memory is read fastest. 'apart': from several places in turn, asking for what comes
        soon (Intel: twice as fast). 'run': one run after another, asking for what comes FAR bytes
        later, into the nearest cache only (AMD from Zen 5 on: two fifths faster). 'plain': as it
        comes, asking for nothing (AMD before: asking costs a quarter).
    tables : bool
        Look sums of '5bit' matrices up for several tokens too rather than multiply: vpermw is one
        operation on AMD Zen, two on Intel.
    amx : bool
        Multiply on Intel's matrix unit if there are several tokens.

    """

    name: str
    packing: str
    needs: tuple[str, ...]
    many_registers: bool
    reading: str = 'apart'
    tables: bool = False
    amx: bool = False

    def ahead(self, soon: int) -> int:
        """Return how many bytes ahead memory is asked for where `soon` suits 'apart'; 0: never."""
        return {'apart': soon, 'run': FAR, 'plain': 0}[self.reading]

    @property
    def locality(self) -> int:
        """Return into which caches weights are asked for; see `vectors.prefetch`."""
        return 0 if self.reading == 'run' else 3


FAR = 8192  # bytes
ISAS = {isa.name: isa for isa in (  # best first
    Isa('avx512vbmi', '5bit', ('avx512bw', 'avx512vl', 'avx512vnni', 'avx512vbmi2'), True),
    Isa('avx512vnni', '2bit', ('avx512bw', 'avx512vl', 'avx512vnni'), True),
    Isa('avxvnni', '2bit', ('avx2', 'avxvnni'), False),
    Isa('avx2', '2bit', ('avx2', 'fma', 'f16c'), False),
    Isa('neon', '2bit', ('neon', 'dotprod'), True),
    Isa('portable', '2bit', (), False))}


def features() -> set[str]:
    """Return the CPU features numba compiles for, in LLVM's words."""
    if numba.config.CPU_FEATURES is not None:
        return {f[1:] for f in numba.config.CPU_FEATURES.split(',') if f.startswith('+')}
    return {name for name, present in llvm.get_host_cpu_features().items() if present}


def available() -> list[Isa]:
    """Return the instruction sets this CPU has, best first."""
    here = features()
    zen = re.fullmatch(r'znver(\d+)', numba.config.CPU_NAME or llvm.get_host_cpu_name())
    reading = 'apart' if zen is None else 'run' if int(zen[1]) >= 5 else 'plain'
    amx = 'amx-int8' in here and _may_use_amx()
    return [replace(isa, reading=reading, tables=zen is not None,
                    amx=amx and isa.name.startswith('avx512'))
            for isa in ISAS.values() if set(isa.needs) <= here]


@cache
def _may_use_amx() -> bool:
    """Ask Linux for the registers of the matrix unit, which it gives to none that did not ask."""
    arch_prctl, request, tiles = 158, 0x1023, 18  # ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    if not sys.platform.startswith('linux'):
        return False
    return ctypes.CDLL(None).syscall(arch_prctl, request, tiles) == 0


def best_isa(packing: str = 'auto') -> Isa:
    """
    Return the best instruction set of this CPU, or what ``EDGE_VLA_ISA`` asks for.

    Parameters
    ----------
    packing : str
        Only those that like this packing; 'auto' for any.

    Raises
    ------
    ValueError
        This CPU has none such.

    """
    wanted = os.environ.get('EDGE_VLA_ISA')
    for isa in available():
        if wanted in (None, '', isa.name) and packing in ('auto', isa.packing):
            return isa
    raise ValueError(f'packing {packing!r} with EDGE_VLA_ISA={wanted or "any"}: this CPU has '
                     + ', '.join(f'{isa.name} ({isa.packing})' for isa in available()))


@cache
def _sources() -> str:
    parts = (path.read_bytes() for path in sorted(Path(__file__).parent.glob('*.py')))
    return f'{zlib.crc32(b"".join(parts)):08x}'


class IsaType(types.Opaque):
    """
    Numba's type of one instruction set.

    Numba's cache on disk looks at a function's own file only; the name carries a checksum of all
    kernels, so that a change in any of them is noticed.
    """

    def __init__(self, isa: Isa) -> None:
        self.isa = isa
        super().__init__(f'{isa} of kernels {_sources()}')


register_model(IsaType)(models.OpaqueModel)


@typeof_impl.register(Isa)
def _typeof(value, context):
    return _type_of(value)


@cache
def _type_of(isa: Isa) -> IsaType:
    return IsaType(isa)


@unbox(IsaType)
def _unbox(kind, value, context):
    return NativeValue(context.context.get_dummy_value())


def _changed(name: str, doc: str, **how: str) -> Callable:
    """Return a function that compiled code calls for the same instruction set used otherwise."""
    def other(typing, isa):
        def generate(context, builder, signature, args):
            return context.get_dummy_value()
        return IsaType(replace(isa.isa, **how))(isa), generate
    other.__name__, other.__doc__ = name, doc
    return intrinsic(other)


two_bits = _changed('two_bits', "For weights packed as '2bit'.", packing='2bit')
unasked = _changed('unasked', 'For what lies here and there, and was asked for before.',
                   reading='plain')


def constant(value: Callable[[Isa], int], name: str, doc: str) -> Callable:
    """Return a function of an Isa that compiled code calls and that is a constant there."""
    def of(typing, isa):
        def generate(context, builder, signature, args):
            return ir.Constant(ir.IntType(64), int(value(signature.args[0].isa)))
        return types.int64(isa), generate
    of.__name__, of.__doc__ = name, doc
    return intrinsic(of)


places = constant(lambda isa: 4 if isa.reading == 'apart' else 1, 'places',
                  'Return from how many places rows are best read in turn.')
has_amx = constant(lambda isa: isa.amx, 'has_amx', 'Tell whether the matrix unit is there.')
many_registers = constant(lambda isa: isa.many_registers, 'many_registers',
                          'Tell whether there are 32 vector registers.')


def choose(stand: Callable, which: Callable[[Isa], Callable]) -> None:
    """
    Let numba compile, for a stand-in, what suits the instruction set.

    Parameters
    ----------
    stand : callable
        A function without a body; its first argument is an Isa.
    which : callable
        Called with it; returns a function of the same arguments, compiled or not.

    """
    def chosen(isa, *_: object):
        function = which(isa.isa)
        return getattr(function, 'py_func', function)
    overload(stand, jit_options={'cache': True, 'nogil': True}, strict=False)(chosen)
