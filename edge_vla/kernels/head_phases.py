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
The last phases of a decoder: norm, and the logits of all tokens, of some, or of the likeliest.

They go by the names of the fields that `bitnet` and `lfm2` give their ``Shape``, ``Weights`` and
``Work``; numba compiles them for each.
"""

from typing import NamedTuple

from edge_vla.kernels import screen, team
from edge_vla.kernels.compiling import inlined
from edge_vla.kernels.head import byte_logit, element_bytes, float_logit, GROUP, group_logits
from edge_vla.kernels.isa import places, two_bits, unasked
from edge_vla.kernels.phases import add_product, pieces, share
from edge_vla.kernels.rows import norm_row, quantise_groups_row, quantise_row_16bit
from edge_vla.kernels.ternary import items, product
from edge_vla.kernels.ternary_2bit import at_once
from edge_vla.kernels.vectors import (
    fetch,
    first_bit,
    LANES,
    vadd,
    vload,
    vmul,
    vreaching,
    vsplat,
    vstore,
)
from numba import njit
import numpy as np

PHASES = 5  # at most
AT_ONCE, AHEAD = 512, 4  # rows looked at before some are chosen, rows asked for ahead
MOST, SPARE = 50, 7  # likeliest tokens that may be asked for, and how many more are looked at


class Sketch(NamedTuple):
    """A head with two bits a column, see `screen`; all empty if there is none."""

    codes: np.ndarray  # uint8, flat
    scales: np.ndarray  # float32, flat
    signs: np.ndarray  # float32 [ROUNDS, hidden]
    order: np.ndarray  # int32 [ROUNDS, hidden]
    dither: np.ndarray  # float32 [hidden]


class Probe(NamedTuple):
    """What up to T tokens ask the sketch with, and what N threads find in P pieces."""

    rows: np.ndarray  # float32 [T, 2, hidden]
    codes: np.ndarray  # int8 [T * width]
    scales: np.ndarray  # float32 [T]: codes per activation
    totals: np.ndarray  # int32 [T]
    sizes: np.ndarray  # float32 [T]: lengths of the activations
    leads: np.ndarray  # int64 [T * P * MOST]: rows with the best estimates
    values: np.ndarray  # float32 [T * P * MOST]: their estimates, then their logits
    best: np.ndarray  # float32 [N, MOST]: scratch
    enough: np.ndarray  # float32 [N, T]: scratch
    chosen: np.ndarray  # int64 [N, AT_ONCE]: scratch
    scratch: np.ndarray  # uint8 [N, scratch_bytes]: of products


@inlined
def _prepare_head(s, w, work, t):
    add_product(s, work, t)
    norm_row(work.h[t], w.final_norm, s.hidden, s.eps, work.x[t])
    if element_bytes(w.head) == 4:
        return
    n, about = s.head_width, t * s.about
    high, low = work.high[t * n:(t + 1) * n], work.low[t * n:(t + 1) * n]
    if element_bytes(w.head_scales) == 4:
        step, high_total, low_total = quantise_row_16bit(work.x[t], s.hidden, high, low)
        work.steps[about] = step
        work.sums[about], work.sums[about + 1] = high_total, low_total
    else:
        quantise_groups_row(work.x[t], s.hidden, GROUP, 1 << (_bits(s, w) - 1), high,
                            work.steps[about:], work.sums[about:])


@njit(cache=True, nogil=True)
def _bits(s, w):
    """Return the bits of a quantised column of the head."""
    return w.head.shape[0] // s.vocabulary * 8 // s.head_width


@inlined
def _logit(isa, s, w, work, bits, row, t):
    """Return the logit of a row for a token; inline, as a call would copy all these arrays."""
    n, about = s.head_width, t * s.about
    if element_bytes(w.head) == 4:
        return float_logit(w.head, row * n, n, work.x[t], 0)
    if element_bytes(w.head_scales) == 4:
        return byte_logit(isa, w.head, w.head_scales, row, n, work.high, work.low, t * n,
                          work.sums[about], work.sums[about + 1], work.steps[about])
    v, = group_logits(isa, bits, w.head, w.head_scales, (row,), n, work.high, (t * n,),
                      work.steps, work.sums, (about,))
    return v


@njit(cache=True, nogil=True)
def _in_turn(first, last, i, count):
    """Return the i-th of some rows if they are read from `count` places in turn."""
    far = (last - first) // count
    if i >= far * count:
        return first + i
    return first + i % count * far + i // count


@inlined
def _head_piece(isa, s, w, work, subset, count, first_token, tokens, piece, threads):
    first, last = share(count, threads, piece)
    if element_bytes(w.head) == 1 and element_bytes(w.head_scales) == 2:
        _head_groups(isa, s, w, work, subset, count, first_token, tokens, first, last)
        return
    bits = _bits(s, w)
    for i in range(last - first):
        k = _in_turn(first, last, i, places(isa))
        row = subset[k] if subset.shape[0] else k
        for t in range(first_token, tokens):
            work.logits[(t - first_token) * count + k] = _logit(isa, s, w, work, bits, row, t)


@inlined
def _head_groups(isa, s, w, work, subset, count, first_token, tokens, first, last):
    """Do rows of 4 or 6 bits, four of them or four tokens at once as long as there are so many."""
    n, about, bits, done = s.head_width, s.about, _bits(s, w), 0
    if places(isa) == 4 and tokens - first_token == 1:
        t, far = first_token, (last - first) // 4
        done = 4 * far
        for i in range(far):
            p, q, r, u = first + i, first + far + i, first + 2 * far + i, first + 3 * far + i
            rows = p, q, r, u
            if subset.shape[0]:
                rows = subset[p], subset[q], subset[r], subset[u]
            work.logits[p], work.logits[q], work.logits[r], work.logits[u] = group_logits(
                isa, bits, w.head, w.head_scales, rows, n, work.high, (t * n,), work.steps,
                work.sums, (t * about,))
    for i in range(done, last - first):
        k = _in_turn(first, last, i, places(isa))
        row = subset[k] if subset.shape[0] else k
        t, at = first_token, k
        while t + 4 <= tokens:
            a, b, c, d = group_logits(
                isa, bits, w.head, w.head_scales, (row,), n, work.high,
                (t * n, (t + 1) * n, (t + 2) * n, (t + 3) * n), work.steps, work.sums,
                (t * about, (t + 1) * about, (t + 2) * about, (t + 3) * about))
            work.logits[at], work.logits[at + count] = a, b
            work.logits[at + 2 * count], work.logits[at + 3 * count] = c, d
            t, at = t + 4, at + 4 * count
        while t < tokens:
            work.logits[at] = _logit(isa, s, w, work, bits, row, t)
            t, at = t + 1, at + count


@inlined
def _prepare_probe(s, w, work, t):
    """Rotate what the head sees of a token, and bring it to the sketch's 8 bits."""
    probe, sketch, about = work.probe, w.sketch, t * s.about
    row = probe.rows[t, 0]
    for j in range(s.hidden):
        if element_bytes(w.head) == 4:
            row[j] = work.x[t, j]
        elif element_bytes(w.head_scales) == 4:
            at = t * s.head_width + j
            row[j] = (np.float32(256) * work.high[at] + work.low[at]) * work.steps[about]
        else:
            row[j] = work.high[t * s.head_width + j] * work.steps[about + 4 * (j // GROUP)]
    screen.rotate(row, sketch.signs, sketch.order, screen.block_of(s.hidden), probe.rows[t, 1])
    width = screen.padded_width(s.hidden)
    step, probe.totals[t], probe.sizes[t] = screen.quantise_probe(
        row, sketch.dither, probe.codes[t * width:(t + 1) * width])
    probe.scales[t] = np.float32(1) / step


@inlined
def _sketch_piece(isa, s, w, work, first_token, tokens, piece, threads, me):
    """Write the sums of rows of the sketch to where logits will be."""
    isa, probe, width, v = two_bits(isa), work.probe, screen.padded_width(s.hidden), s.vocabulary
    for t in range(first_token, tokens, at_once(isa)):
        count = min(at_once(isa), tokens - t)
        rows = items(isa, v, count, threads)
        first, last = share(rows, threads, piece)
        product(isa, w.sketch.codes, 0, width // screen.COLUMNS, v, first, last, rows,
                probe.codes[t * width:], width, probe.totals[t:], probe.scales[t:], 1.0, count,
                work.logits[(t - first_token) * v:], v, probe.scratch[me])


@inlined
def _estimate_piece(s, w, work, best, first_token, tokens, piece, threads):
    """Make estimates of a piece's sums, and remember the best."""
    probe, scales, v = work.probe, w.sketch.scales, s.vocabulary
    first, last = share(v, threads, piece)
    for t in range(first_token, tokens):
        out = work.logits[(t - first_token) * v:(t - first_token + 1) * v]
        half = np.float32(probe.totals[t] / probe.scales[t])  # the codes are (l + 3) / 2
        most = _most(best)
        at = (t * pieces(threads) + piece) * most
        leads, values = probe.leads[at:at + most], probe.values[at:at + most]
        leads[:] = -1
        values[:] = -np.inf
        two, minus, whole = vsplat(np.float32(2)), vsplat(-half), first + _whole(last - first)
        for j in range(first, whole, LANES):
            found = vmul(vload(scales, j), vadd(vmul(two, vload(out, j)), minus))
            vstore(out, j, found)
            if vreaching(found, values[most - 1]):
                _lead(out, j, j + LANES, leads, values)
        for j in range(whole, last):
            out[j] = scales[j] * (np.float32(2) * out[j] - half)
        _lead(out, whole, last, leads, values)


@njit(cache=True, nogil=True)
def _most(best):
    """Return how many rows a piece remembers: more than are wanted, as estimates err."""
    return min(MOST, best + SPARE)


@njit(cache=True, nogil=True)
def _whole(count):
    """Return how many of some numbers fill vectors."""
    return count // LANES * LANES


@njit(cache=True, nogil=True)
def _lead(out, first, last, leads, values):
    """Put those of some estimates that are larger than the last of the best into their list."""
    end = values.shape[0] - 1
    for j in range(first, last):
        if out[j] > values[end]:
            k = _insert(values, out[j])
            for i in range(end, k, -1):
                leads[i] = leads[i - 1]
            leads[k] = j


@njit(cache=True, nogil=True)
def _insert(values, value):
    """Put a value into a descending list, whose last one falls out, and return its place."""
    k = values.shape[0] - 1
    while k > 0 and values[k - 1] < value:
        values[k] = values[k - 1]
        k -= 1
    values[k] = value
    return k


@inlined
def _lead_piece(isa, s, w, work, best, t, piece, threads):
    """Write the logits of the rows a piece remembered."""
    most, bits = _most(best), _bits(s, w)
    at = (t * pieces(threads) + piece) * most
    end = at + most
    for k in range(at, end):
        row = work.probe.leads[k]
        if k + AHEAD < end and work.probe.leads[k + AHEAD] >= 0:
            _fetch_row(s, w, work.probe.leads[k + AHEAD])
        work.probe.values[k] = -np.inf if row < 0 else (
            _logit(unasked(isa), s, w, work, bits, row, t))


@inlined
def _fetch_row(s, w, row):
    """Ask for a row of the head and its scales to be brought near."""
    line, scales = w.head.shape[0] // s.vocabulary, w.head_scales.shape[0] // s.vocabulary
    fetch(w.head, row * line, line)
    fetch(w.head_scales, row * scales, scales)


@njit(cache=True, nogil=True)
def _kth_best(values, top):
    """Return the k-th best of the logits that pieces remembered; `top` [k] is scratch."""
    top[:] = -np.inf
    for value in values:
        if value > top[-1]:
            _insert(top, value)
    return top[-1]


@njit(cache=True, nogil=True)
def _choose(out, by_turn, by_dither, first, last, turned, dithered, enough, chosen):
    """List the rows whose logit may be enough, return how many, and set all estimates to -inf."""
    count, whole = 0, first + _whole(last - first)
    lowest, a, b = vsplat(np.float32(-np.inf)), vsplat(turned), vsplat(dithered)
    for j in range(first, whole, LANES):
        bound = vadd(vmul(a, vload(by_turn, j)), vmul(b, vload(by_dither, j)))
        rows = vreaching(vadd(vload(out, j), bound), enough)
        vstore(out, j, lowest)
        while rows:
            chosen[count] = j + first_bit(rows)
            count += 1
            rows &= rows - 1
    for k in range(whole, last):
        if not out[k] + (turned * by_turn[k] + dithered * by_dither[k]) < enough:
            chosen[count] = k
            count += 1
        out[k] = -np.inf
    return count


@inlined
def _settle_piece(isa, s, w, work, best, first_token, tokens, piece, threads, me):
    """Write the logits of all rows that may be among the best, and -inf for the others."""
    probe, scales, v = work.probe, w.sketch.scales, s.vocabulary
    first, last = share(v, threads, piece)
    chosen, bits, asked = probe.chosen[me], _bits(s, w), tokens - first_token
    enough, leads = probe.enough[me], pieces(threads) * _most(best)
    for n in range(asked):
        at = (first_token + n) * leads
        enough[n] = _kth_best(probe.values[at:at + leads], probe.best[me, :best])
    for start in range(first, last, AT_ONCE):  # rows that several tokens chose are near then
        for n in range(asked):
            t = first_token + n
            turned = np.float32(screen.EPSILON * screen.ROUNDING) * probe.sizes[t]
            dithered = np.float32(screen.KAPPA * screen.ROUNDING) / probe.scales[t]
            out = work.logits[n * v:(n + 1) * v]
            count = _choose(out, scales[v:], scales[2 * v:], start, min(start + AT_ONCE, last),
                            turned, dithered, enough[n], chosen)
            for k in range(min(AHEAD, count)):
                _fetch_row(s, w, chosen[k])
            for k in range(count):
                if k + AHEAD < count:
                    _fetch_row(s, w, chosen[k + AHEAD])
                out[chosen[k]] = _logit(unasked(isa), s, w, work, bits, chosen[k], t)


@njit(cache=True, nogil=True)
def run_head(isa, s, w, work, number, tokens, first_logit, subset, best, call, threads, me):
    """
    Add the last product, norm, and write the logits of the tokens from `first_logit` on.

    Parameters
    ----------
    isa, s, w, work, tokens, first_logit, subset, best, call, threads, me
        As in `bitnet.run`.
    number : int
        Of the first of these phases.

    """
    if first_logit >= tokens:
        return
    rows = subset.shape[0] if subset.shape[0] else s.vocabulary
    asked = tokens - first_logit
    for phase in range(PHASES if best else 2):
        count = pieces(threads)
        if phase == 0:
            count = asked
        elif phase == 3:
            count *= asked
        piece = team.take(work.sync, number, call, count)
        while piece >= 0:
            if phase == 0:
                _prepare_head(s, w, work, first_logit + piece)
                if best:
                    _prepare_probe(s, w, work, first_logit + piece)
            elif best == 0:
                _head_piece(isa, s, w, work, subset, rows, first_logit, tokens, piece, threads)
            elif phase == 1:
                _sketch_piece(isa, s, w, work, first_logit, tokens, piece, threads, me)
            elif phase == 2:
                _estimate_piece(s, w, work, best, first_logit, tokens, piece, threads)
            elif phase == 3:
                _lead_piece(isa, s, w, work, best, first_logit + piece % asked,
                            piece // asked, threads)
            else:
                _settle_piece(isa, s, w, work, best, first_logit, tokens, piece, threads,
                              me)
            team.done(work.sync, number)
            piece = team.take(work.sync, number, call, count)
        if not team.wait(work.sync, number, call, count):
            return
        number += 1
