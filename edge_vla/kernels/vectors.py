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
LLVM vectors as numba values, so that plain numba code can say which instruction it means.

A `Vector` holds 16 floats; LLVM splits it into what the CPU has. The order of every
sum is written down here and there is no fastmath, so all CPUs give the same floats.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model
import numpy as np

LANES = 16
CACHE_LINE = 64  # bytes
BYTE, SHORT, INT, LONG = (ir.IntType(bits) for bits in (8, 16, 32, 64))
BIT, FLOAT, HALF = ir.IntType(1), ir.FloatType(), ir.HalfType()
F32X16, INTS = ir.VectorType(FLOAT, LANES), ir.VectorType(INT, LANES)
BYTES, SHORTS = ir.VectorType(BYTE, 64), ir.VectorType(SHORT, 32)


class Vector(types.Type):
    """16 lanes of float32."""

    def __init__(self) -> None:
        super().__init__(f'Vector(float32 x {LANES})')


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    """An LLVM vector, held as it is."""

    def __init__(self, manager: Any, kind: Vector) -> None:
        super().__init__(manager, kind, F32X16)


FLOATS = Vector()


# Emitters: plain functions on an IR builder, shared by the intrinsics here and elsewhere ----

def call(builder: ir.IRBuilder, name: str, result: ir.Type, *args: ir.Value) -> ir.Value:
    """Call an LLVM intrinsic by name."""
    kind = ir.FunctionType(result, [a.type for a in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


def data_pointer(context: Any, builder: ir.IRBuilder, kind: types.Array,
                 array: ir.Value, offset: ir.Value) -> ir.Value:
    """Return the address of element `offset` of a contiguous array, as a byte pointer."""
    data = context.make_array(kind)(context, builder, array).data
    size = ir.Constant(LONG, kind.dtype.bitwidth // 8)
    return advance(builder, builder.bitcast(data, BYTE.as_pointer()), builder.mul(offset, size))


def advance(builder: ir.IRBuilder, pointer: ir.Value, by: ir.Value | int) -> ir.Value:
    """Return a byte pointer moved by bytes."""
    by = ir.Constant(LONG, by) if isinstance(by, int) else by
    try:
        return builder.gep(pointer, [by], source_etype=BYTE)
    except TypeError:  # llvmlite before opaque pointers
        return builder.gep(pointer, [by])


def load(builder: ir.IRBuilder, pointer: ir.Value, kind: ir.Type) -> ir.Value:
    """Load a value or vector from any address."""
    pointer = builder.bitcast(pointer, kind.as_pointer())
    try:
        value = builder.load(pointer, typ=kind)
    except TypeError:  # llvmlite before opaque pointers
        value = builder.load(pointer)
    value.align = 1
    return value


def store(builder: ir.IRBuilder, value: ir.Value, pointer: ir.Value) -> None:
    """Store a value or vector to any address."""
    builder.store(value, builder.bitcast(pointer, value.type.as_pointer())).align = 1


def splat(builder: ir.IRBuilder, value: ir.Value, lanes: int = LANES) -> ir.Value:
    """Repeat a scalar in every lane."""
    kind = ir.VectorType(value.type, lanes)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, INT(0))
    zeros = ir.Constant(ir.VectorType(INT, lanes), [0] * lanes)
    return builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), zeros)


def pick_lanes(builder: ir.IRBuilder, vector: ir.Value, first: int, count: int) -> ir.Value:
    """Return some consecutive lanes."""
    index = ir.Constant(ir.VectorType(INT, count), list(range(first, first + count)))
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), index)


def every(kind: ir.VectorType, value: float) -> ir.Value:
    """Return a constant with the same value in every lane."""
    return ir.Constant(kind, [value] * kind.count)


def accumulator(builder: ir.IRBuilder, kind: ir.VectorType) -> ir.Value:
    """Return a zeroed cell in memory, for `load` and ``store``; LLVM keeps it in a register."""
    cell = cgutils.alloca_once(builder, kind)
    builder.store(every(kind, 0.0 if kind is F32X16 else 0), cell)
    return cell


def merge(builder: ir.IRBuilder, vectors: list[ir.Value], width: int) -> list[ir.Value]:
    """
    Add the halves of segments of `width` lanes, and put two int32 vectors into one.

    Parameters
    ----------
    builder : IRBuilder
        Where to emit.
    vectors : list of <16 x i32>
        An even number.
    width : int
        Lanes of a segment; half of it in the result, segments in the order of the vectors.

    """
    low = [i for i in range(LANES) if i % width < width // 2]
    low = [*low, *(LANES + i for i in low)]
    high = [i + width // 2 for i in low]
    return [builder.add(builder.shuffle_vector(a, b, ir.Constant(INTS, low)),
                        builder.shuffle_vector(a, b, ir.Constant(INTS, high)))
            for a, b in zip(vectors[::2], vectors[1::2], strict=True)]


def reduce(builder: ir.IRBuilder, vector: ir.Value, join: Callable) -> ir.Value:
    """Fold halves onto each other until one lane is left: a fixed order on every CPU."""
    width = vector.type.count
    while width > 1:
        width //= 2
        vector = join(pick_lanes(builder, vector, 0, width),
                      pick_lanes(builder, vector, width, width))
    return builder.extract_element(vector, INT(0))


def to_floats(builder: ir.IRBuilder, pointer: ir.Value, dtype: types.Type) -> ir.Value:
    """Load 16 float32 from float32, float16 (kept as uint16) or int8."""
    if dtype == types.float32:
        return load(builder, pointer, F32X16)
    if dtype == types.uint16:
        return builder.fpext(load(builder, pointer, ir.VectorType(HALF, LANES)), F32X16)
    return builder.sitofp(load(builder, pointer, ir.VectorType(BYTE, LANES)), F32X16)


def prefetch(builder: ir.IRBuilder, pointer: ir.Value, locality: int = 3) -> None:
    """Ask for a cache line into every level (3), all but the nearest (2), or only that one (0)."""
    kind = ir.FunctionType(ir.VoidType(), [pointer.type, INT, INT, INT])
    name = 'llvm.prefetch.p0' if getattr(pointer.type, 'is_opaque', True) else 'llvm.prefetch.p0i8'
    builder.call(cgutils.get_or_insert_function(builder.module, kind, name),
                 [pointer, INT(0), INT(locality), INT(1)])


def prefetch_all(builder: ir.IRBuilder, pointer: ir.Value, size: int, locality: int) -> None:
    """Ask for some bytes that begin with a cache line."""
    for line in range(0, size, CACHE_LINE):
        prefetch(builder, advance(builder, pointer, line), locality)


# Float vectors in numba code ---------------------------------------------------------------

@intrinsic
def vload(typing, array, offset):
    """Load 16 lanes as float32 from a float32, float16 (as uint16) or int8 array."""
    def generate(context, builder, signature, args):
        pointer = data_pointer(context, builder, signature.args[0], *args)
        return to_floats(builder, pointer, signature.args[0].dtype)
    return FLOATS(array, types.intp), generate


@intrinsic
def fetch(typing, array, offset, count):
    """Ask for some elements of an array to be brought near."""
    def generate(context, builder, signature, args):
        kind = signature.args[0]
        start = data_pointer(context, builder, kind, *args[:2])
        size = builder.mul(args[2], LONG(kind.dtype.bitwidth // 8))
        line = LONG(CACHE_LINE)
        lines = builder.udiv(builder.add(size, LONG(CACHE_LINE - 1)), line)
        with cgutils.for_range(builder, lines) as loop:
            prefetch(builder, advance(builder, start, builder.mul(loop.index, line)))
        return context.get_dummy_value()
    return types.void(array, types.int64, types.int64), generate


@intrinsic
def vstore(typing, array, offset, vector):
    """Store 16 float lanes, rounded to what the array holds (int8: ties to even)."""
    def generate(context, builder, signature, args):
        pointer = data_pointer(context, builder, signature.args[0], args[0], args[1])
        value, dtype = args[2], signature.args[0].dtype
        if dtype == types.uint16:
            value = builder.fptrunc(value, ir.VectorType(HALF, LANES))
        elif dtype == types.int8:
            value = call(builder, 'llvm.rint.v16f32', F32X16, value)
            value = builder.trunc(builder.fptosi(value, INTS), ir.VectorType(BYTE, LANES))
        store(builder, value, pointer)
        return context.get_dummy_value()
    return types.void(array, types.intp, vector), generate


@intrinsic
def vsplat(typing, value):
    """Repeat a float32."""
    def generate(context, builder, signature, args):
        return splat(builder, args[0])
    return FLOATS(types.float32), generate


def _binary(name: str, doc: str) -> Any:
    def operation(typing, a, b):
        def generate(context, builder, signature, args):
            if name == 'max':
                return builder.select(builder.fcmp_ordered('>', *args), *args)
            return getattr(builder, name)(*args)
        return FLOATS(a, b), generate
    operation.__doc__, operation.__name__ = doc, f'v{name}'
    return intrinsic(operation)


vadd = _binary('fadd', 'Add lane by lane.')
vmul = _binary('fmul', 'Multiply lane by lane.')
vdiv = _binary('fdiv', 'Divide lane by lane.')
vmax = _binary('max', 'The larger of each lane.')


@intrinsic
def vfma(typing, a, b, c):
    """Return a * b + c, rounded once."""
    def generate(context, builder, signature, args):
        return call(builder, 'llvm.fma.v16f32', F32X16, *args)
    return FLOATS(a, b, c), generate


@intrinsic
def vabs(typing, a):
    """Return the magnitude of each lane."""
    def generate(context, builder, signature, args):
        return call(builder, 'llvm.fabs.v16f32', F32X16, *args)
    return FLOATS(a), generate


@intrinsic
def vround(typing, a):
    """Return the nearest integer of each lane, ties to even."""
    def generate(context, builder, signature, args):
        return call(builder, 'llvm.rint.v16f32', F32X16, *args)
    return FLOATS(a), generate


@intrinsic
def vsum(typing, a):
    """Return the sum of the lanes, halves folded onto each other."""
    def generate(context, builder, signature, args):
        return reduce(builder, args[0], builder.fadd)
    return types.float32(a), generate


@intrinsic
def vtop(typing, a):
    """Return the largest lane."""
    def generate(context, builder, signature, args):
        return reduce(builder, args[0], lambda x, y: builder.select(
            builder.fcmp_ordered('>', x, y), x, y))
    return types.float32(a), generate


@intrinsic
def vpick(typing, sign, a, b):
    """Return the lanes of `a` where `sign` is not below zero, of `b` elsewhere."""
    def generate(context, builder, signature, args):
        positive = builder.fcmp_ordered('>=', args[0], ir.Constant(F32X16, [0.0] * LANES))
        return builder.select(positive, args[1], args[2])
    return FLOATS(sign, a, b), generate


@intrinsic
def vreaching(typing, a, limit):
    """Return a bit for each lane that is not below a limit; what is not a number is not."""
    def generate(context, builder, signature, args):
        below = builder.fcmp_ordered('<', args[0], splat(builder, args[1]))
        mask = builder.bitcast(builder.not_(below), ir.IntType(LANES))
        return builder.zext(mask, LONG)
    return types.int64(a, types.float32), generate


@intrinsic
def first_bit(typing, bits):
    """Return which is the lowest bit that is set."""
    def generate(context, builder, signature, args):
        return builder.cttz(args[0], BIT(0))
    return types.int64(types.int64), generate


@intrinsic
def vkeep(typing, a, count, other):
    """Return the first `count` lanes of `a`, and `other` in the rest."""
    def generate(context, builder, signature, args):
        index = ir.Constant(INTS, list(range(LANES)))
        count = splat(builder, builder.trunc(args[1], INT))
        return builder.select(builder.icmp_signed('<', index, count), args[0],
                              splat(builder, args[2]))
    return FLOATS(a, types.intp, types.float32), generate


# exp(r) on |r| <= ln(2)/2, Cephes expf
_POLYNOMIAL = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2,
               1.6666665459e-1, 5.0000001201e-1)


def emit_exp(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Return e^x for x <= 0 to two units in the last place; 0 below -87 (Cephes expf)."""
    def constant(value: float) -> ir.Value:
        return ir.Constant(F32X16, [float(np.float32(value))] * LANES)

    def fma(a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        return call(builder, 'llvm.fma.v16f32', F32X16, a, b, c)
    low = builder.fcmp_ordered('<', x, constant(-87))
    x = builder.select(low, constant(-87), x)
    n = call(builder, 'llvm.rint.v16f32', F32X16, builder.fmul(x, constant(1.44269504088896341)))
    r = fma(n, constant(-0.693359375), x)
    r = fma(n, constant(2.12194440e-4), r)
    p = constant(_POLYNOMIAL[0])
    for coefficient in _POLYNOMIAL[1:]:
        p = fma(p, r, constant(coefficient))
    y = builder.fadd(fma(p, builder.fmul(r, r), r), constant(1))
    power = builder.shl(builder.add(builder.fptosi(n, INTS), ir.Constant(INTS, [127] * LANES)),
                        ir.Constant(INTS, [23] * LANES))
    y = builder.fmul(y, builder.bitcast(power, F32X16))
    return builder.select(low, constant(0), y)


@intrinsic
def vexp(typing, a):
    """Return e^x of each lane, x <= 0."""
    def generate(context, builder, signature, args):
        return emit_exp(builder, args[0])
    return FLOATS(a), generate
