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
Tuples of arrays for compiled code that is called over and over.

To take an array out of its Python object takes numba 0.3 us, or 2 where a model's weights have
just gone through the caches, and a decoder has seventy. `Lent` does it once. And LLVM, which finds
them in memory, need not hand their 400 fields from function to function.
"""

from typing import Any

from llvmlite import ir
from numba import njit, typeof, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import (
    intrinsic,
    models,
    NativeValue,
    register_model,
    typeof_impl,
    unbox,
)
import numpy as np


class LentType(types.Type):
    """Numba's type of what is lent: the address of a tuple as compiled code has it."""

    def __init__(self, group: types.BaseTuple) -> None:
        self.group = group
        super().__init__(f'Lent({group})')

    @property
    def key(self) -> types.BaseTuple:
        """Return what makes it another type: the tuple's class too, not only its name."""
        return self.group


@register_model(LentType)
class _LentModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: LentType) -> None:
        super().__init__(manager, kind, ir.IntType(64))


class Lent:
    """
    A tuple as compiled code has it, for `borrow`.

    Parameters
    ----------
    value : tuple
        Arrays, numbers, and tuples of such. Its class must be importable: numba's cache on disk
        names it.

    Attributes
    ----------
    value : tuple
        As given, kept alive.
    kind : LentType
        Its type.
    address : int
        Where it is.

    """

    __slots__ = ('_room', 'address', 'kind', 'value')

    def __init__(self, value: tuple[Any, ...]) -> None:
        self.value, self.kind = value, LentType(typeof(value))
        self._room = np.empty(_size(value), np.uint8)
        self.address = self._room.ctypes.data
        _store(value, self.address)


@typeof_impl.register(Lent)
def _typeof(value, context):
    return value.kind


@unbox(LentType)
def _unbox(kind, value, context):
    number = context.pyapi.object_getattr_string(value, 'address')
    address = context.pyapi.long_as_longlong(number)
    context.pyapi.decref(number)
    return NativeValue(address)


def _ownerless(context: Any, builder: ir.IRBuilder, kind: types.Type, value: ir.Value) -> ir.Value:
    """Return arrays without owners, whose references nobody counts."""
    if isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder, value)
        array.meminfo = cgutils.get_null_value(array.meminfo.type)
        array.parent = cgutils.get_null_value(array.parent.type)
        return array._getvalue()
    if isinstance(kind, types.BaseTuple):
        for i, part in enumerate(kind.types):
            part = _ownerless(context, builder, part, builder.extract_value(value, i))
            value = builder.insert_value(value, part, i)
    return value


def _place(context: Any, builder: ir.IRBuilder, kind: types.Type, address: ir.Value) -> ir.Value:
    return builder.inttoptr(address, context.get_data_type(kind).as_pointer())


@intrinsic
def _bytes(typing, value):
    def generate(context, builder, signature, args):
        size = context.get_abi_sizeof(context.get_data_type(signature.args[0]))
        return ir.Constant(ir.IntType(64), size)
    return types.int64(value), generate


@intrinsic
def _put(typing, value, address):
    def generate(context, builder, signature, args):
        kind = signature.args[0]
        context.pack_value(builder, kind, args[0], _place(context, builder, kind, args[1]))
        return context.get_dummy_value()
    return types.void(value, types.int64), generate


@njit(cache=True)
def _size(value):
    return _bytes(value)


@njit(cache=True)
def _store(value, address):
    _put(value, address)


@intrinsic
def borrow(typing, lent):
    """
    Return the tuple that was lent, or an array that does not count its references.

    Counters of arrays that threads share are cache lines that they take from each other with every
    call. The caller of the jitted function holds what it lends.
    """
    if isinstance(lent, LentType):
        def generate(context, builder, signature, args):
            kind = signature.return_type
            value = context.unpack_value(builder, kind, _place(context, builder, kind, args[0]))
            return _ownerless(context, builder, kind, value)  # which LLVM is to know
        return lent.group(lent), generate

    def generate(context, builder, signature, args):
        return _ownerless(context, builder, signature.args[0], args[0])
    return lent(lent), generate


@intrinsic(prefer_literal=True)
def replace(typing, group, name, value):
    """Return a named tuple with another value, of the same type, in a field."""
    if not isinstance(name, types.StringLiteral):
        return None
    index = group.fields.index(name.literal_value)
    if value != group.types[index]:
        raise TypingError(f'{name.literal_value} is {group.types[index]}, got {value}')

    def generate(context, builder, signature, args):
        return builder.insert_value(args[0], args[2], index)
    return group(group, name, value), generate
