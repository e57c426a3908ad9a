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
Threads that share the work of one jitted call, phase after phase.

Every phase has a ticket counter and a counter of finished pieces. Whoever is there takes pieces;
a thread that the system keeps waiting takes none, so it delays a phase by one piece at most. The
counters carry the number of the call, so a thread that comes late notices and leaves.
"""

import platform
from typing import Any

from edge_vla.kernels.vectors import LONG
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

STRIDE = 8  # int64 from phase to phase: a cache line each
_SHIFT = 24
_PAUSE = {'x86_64': ('llvm.x86.sse2.pause', ()), 'AMD64': ('llvm.x86.sse2.pause', ()),
          'aarch64': ('llvm.aarch64.hint', (1,)), 'arm64': ('llvm.aarch64.hint', (1,))}
_yield = types.ExternalFunction('sched_yield', types.int32())


def _cell(context: Any, builder: ir.IRBuilder, kind: types.Array, array: ir.Value,
          index: ir.Value) -> ir.Value:
    data = context.make_array(kind)(context, builder, array).data
    return builder.gep(data, [index])


@intrinsic
def _add_one(typing, array, index):
    def generate(context, builder, signature, args):
        cell = _cell(context, builder, signature.args[0], *args)
        return builder.atomic_rmw('add', cell, LONG(1), 'seq_cst')
    return types.int64(array, types.intp), generate


@intrinsic
def _read(typing, array, index):
    def generate(context, builder, signature, args):
        cell = _cell(context, builder, signature.args[0], *args)
        try:
            return builder.load_atomic(cell, 'seq_cst', 8, typ=LONG)
        except TypeError:  # llvmlite before opaque pointers
            return builder.load_atomic(cell, 'seq_cst', 8)
    return types.int64(array, types.intp), generate


@intrinsic
def _swap(typing, array, index, old, new):
    """Write `new` if the cell holds `old`, and tell whether it did."""
    def generate(context, builder, signature, args):
        cell = _cell(context, builder, signature.args[0], args[0], args[1])
        pair = builder.cmpxchg(cell, args[2], args[3], 'seq_cst', 'seq_cst')
        return builder.extract_value(pair, 1)
    return types.boolean(array, types.intp, types.int64, types.int64), generate


@intrinsic
def _write(typing, array, index, value):
    def generate(context, builder, signature, args):
        cell = _cell(context, builder, signature.args[0], args[0], args[1])
        builder.atomic_rmw('xchg', cell, args[2], 'seq_cst')
        return context.get_dummy_value()
    return types.void(array, types.intp, types.int64), generate


@intrinsic
def _pause(typing):
    """Tell the core that this is a waiting loop."""
    def generate(context, builder, signature, args):
        name, values = _PAUSE.get(platform.machine(), (None, ()))
        if name:
            constants = [ir.Constant(ir.IntType(32), v) for v in values]
            kind = ir.FunctionType(ir.VoidType(), [c.type for c in constants])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, name), constants)
        return context.get_dummy_value()
    return types.void(), generate


@njit(cache=True, nogil=True)
def begin(sync, call):
    """Clear all counters for call number `call`; only when no piece of the last is under way."""
    for p in range(sync.shape[0] // STRIDE):
        _write(sync, p * STRIDE + 1, call << _SHIFT)
        _write(sync, p * STRIDE, call << _SHIFT)


@njit(cache=True, nogil=True)
def take(sync, phase, call, count):
    """Return the next piece of a phase, or -1 when there is none (or the call is over)."""
    cell = phase * STRIDE
    while True:
        seen = _read(sync, cell)
        taken = seen - (call << _SHIFT)
        if taken < 0 or taken >= count:
            return -1
        if _swap(sync, cell, seen, seen + 1):
            return taken


@njit(cache=True, nogil=True)
def done(sync, phase):
    """Say that a piece is finished."""
    _add_one(sync, phase * STRIDE + 1)


@njit(cache=True, nogil=True)
def wait(sync, phase, call, count):
    """Wait until all pieces of a phase are finished; False when the call is over."""
    cell = phase * STRIDE + 1
    spins = 0
    while True:
        finished = _read(sync, cell) - (call << _SHIFT)
        if finished == count:
            return True
        if finished < 0 or finished > count:
            return False
        spins += 1
        if spins < 2000:
            _pause()
        else:
            _yield()
