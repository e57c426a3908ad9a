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
Ray-caster of coloured primitives on textured ground: the simulator's camera.

One ray per pixel against spheres, boxes, pillars (cylinders) and cones, with Lambert light,
hard shadows, value-noise ground, a sky gradient and fog. Pure numba, float64, no fastmath:
the same frame on every CPU.
"""

import math

from numba import njit
import numpy as np

# Columns of an object row: kind, centre x y z, half extents a b c, cos and sin of yaw, r g b.
KIND, X, Y, Z, A, B, C, COS, SIN, RED, GREEN, BLUE = range(12)
OBJECT_COLUMNS = 12
SPHERE, BOX, PILLAR, CONE = range(4)
# Columns of a light row: sun direction (3), ambient, diffuse, fog, texture scale, texture kind,
# texture seed, ground dark (3), ground bright (3), zenith (3), horizon (3), shadow on.
LIGHT_COLUMNS = 22
FAR = 1e9
NOTHING = -1


@njit(cache=True, nogil=True, inline='always')
def _hash(ix, iy, seed):  # noqa: ANN001, ANN202
    n = (ix * 374761393 + iy * 668265263 + seed * 1442695041) & 0xffffffff
    n = ((n ^ (n >> 13)) * 1274126177) & 0xffffffff
    return ((n ^ (n >> 16)) & 0xffff) / 65535.0


@njit(cache=True, nogil=True)
def _value_noise(x, y, seed):  # noqa: ANN001, ANN202
    """Smooth noise in [0, 1]."""
    ix = int(math.floor(x))
    iy = int(math.floor(y))
    fx = x - ix
    fy = y - iy
    fx = fx * fx * (3 - 2 * fx)
    fy = fy * fy * (3 - 2 * fy)
    a = _hash(ix, iy, seed)
    b = _hash(ix + 1, iy, seed)
    c = _hash(ix, iy + 1, seed)
    d = _hash(ix + 1, iy + 1, seed)
    return a + (b - a) * fx + (c - a) * fy + (a - b - c + d) * fx * fy


@njit(cache=True, nogil=True)
def _hit(o, ox, oy, oz, dx, dy, dz, limit):  # noqa: ANN001, ANN202
    """Return distance along the ray (FAR if none below `limit`) and the surface normal."""
    t = FAR
    nx = 0.0
    ny = 0.0
    nz = 1.0
    kind = int(o[KIND])
    px = ox - o[X]
    py = oy - o[Y]
    pz = oz - o[Z]
    if kind == SPHERE:
        b = px * dx + py * dy + pz * dz
        q = b * b - (px * px + py * py + pz * pz - o[A] * o[A])
        if q > 0:
            s = -b - math.sqrt(q)
            if 1e-4 < s < limit:
                t = s
                nx = (px + s * dx) / o[A]
                ny = (py + s * dy) / o[A]
                nz = (pz + s * dz) / o[A]
    elif kind == BOX:
        cs = o[COS]
        sn = o[SIN]
        qx = cs * px + sn * py
        qy = -sn * px + cs * py
        ex = cs * dx + sn * dy
        ey = -sn * dx + cs * dy
        ix = 1 / ex if abs(ex) > 1e-9 else 1e9
        iy = 1 / ey if abs(ey) > 1e-9 else 1e9
        iz = 1 / dz if abs(dz) > 1e-9 else 1e9
        ax = (-o[A] - qx) * ix
        bx = (o[A] - qx) * ix
        ay = (-o[B] - qy) * iy
        by = (o[B] - qy) * iy
        az = (-o[C] - pz) * iz
        bz = (o[C] - pz) * iz
        near_x = min(ax, bx)
        near_y = min(ay, by)
        near = max(near_x, near_y, min(az, bz))
        far = min(max(ax, bx), max(ay, by), max(az, bz))
        if near < far and 1e-4 < near < limit:
            t = near
            if near == near_x:
                g = -1.0 if ex > 0 else 1.0
                nx = g * cs
                ny = g * sn
                nz = 0.0
            elif near == near_y:
                g = -1.0 if ey > 0 else 1.0
                nx = -g * sn
                ny = g * cs
                nz = 0.0
            else:
                nz = -1.0 if dz > 0 else 1.0
    elif kind == PILLAR:
        a = dx * dx + dy * dy
        if a > 1e-12:
            b = px * dx + py * dy
            q = b * b - a * (px * px + py * py - o[A] * o[A])
            if q > 0:
                s = (-b - math.sqrt(q)) / a
                if 1e-4 < s < limit and abs(pz + s * dz) <= o[C]:
                    t = s
                    nx = (px + s * dx) / o[A]
                    ny = (py + s * dy) / o[A]
                    nz = 0.0
        if t > 1e8 and abs(dz) > 1e-9:
            s = ((o[C] if dz < 0 else -o[C]) - pz) / dz
            if 1e-4 < s < limit:
                x = px + s * dx
                y = py + s * dy
                if x * x + y * y <= o[A] * o[A]:
                    t = s
                    nz = 1.0 if dz < 0 else -1.0
    else:  # cone, apex up
        height = 2 * o[C]
        k = o[A] / height
        apex = pz - o[C]
        a = dx * dx + dy * dy - k * k * dz * dz
        b = px * dx + py * dy - k * k * apex * dz
        q = b * b - a * (px * px + py * py - k * k * apex * apex)
        if q > 0 and abs(a) > 1e-12:
            root = math.sqrt(q)
            m = 1 / math.sqrt(1 + k * k)
            for sign in (-1.0, 1.0):
                s = (-b + sign * root) / a
                z = apex + s * dz
                if 1e-4 < s < limit and s < t and -height <= z <= 0:
                    x = px + s * dx
                    y = py + s * dy
                    r = math.sqrt(x * x + y * y) + 1e-9
                    t = s
                    nx = x / r * m
                    ny = y / r * m
                    nz = k * m
        if dz > 0:
            s = (-o[C] - pz) / dz
            if 1e-4 < s < limit and s < t:
                x = px + s * dx
                y = py + s * dy
                if x * x + y * y <= o[A] * o[A]:
                    t = s
                    nx = 0.0
                    ny = 0.0
                    nz = -1.0
    return t, nx, ny, nz


@njit(cache=True, nogil=True)
def _ground(x, y, distance, light):  # noqa: ANN001, ANN202
    """Mixing weight of the two ground colours at a ground point."""
    scale = light[6]
    seed = int(light[8])
    lod = 1 / (1 + distance * distance * 0.004 * scale)  # fade detail before it aliases
    kind = int(light[7])
    if lod < 0.02:
        return 0.5
    if kind == 0:
        cell = (int(math.floor(x * scale)) + int(math.floor(y * scale))) & 1
        return 0.5 + (cell - 0.5) * lod
    if kind == 1:
        return 0.5 + (_value_noise(x * scale, y * scale, seed) - 0.5) * lod
    fine = 0.5
    if lod > 0.15:
        fine = _value_noise(x * scale * 3.1, y * scale * 3.1, seed + 7)
    return 0.5 + (0.6 * _value_noise(x * scale, y * scale, seed) + 0.4 * fine - 0.5) * lod


@njit(cache=True, nogil=True)
def render(image, ids, depth, objects, count, position, rotation, tan_half, light):  # noqa: ANN001, ANN201, E501
    """
    Draw one camera frame.

    Parameters
    ----------
    image : uint8 [H, W, 3], written
        RGB.
    ids : int8 [H, W] or [0, 0], written
        Index of the object seen by each pixel, NOTHING elsewhere; skipped when empty.
    depth : float32 [H, W] or [0, 0], written
        Distance along the ray in metres (FAR for sky); skipped when empty.
    objects : float64 [N, OBJECT_COLUMNS]
        See the constants above.
    count : int
        Number of rows of `objects` in use.
    position : float64 [3]
        Camera position, world, m.
    rotation : float64 [3, 3]
        Camera (x forward, y left, z up) to world.
    tan_half : float
        Tangent of half the horizontal field of view.
    light : float64 [LIGHT_COLUMNS]
        See the constants above.

    """
    height, width = image.shape[0], image.shape[1]
    labels = ids.shape[0] > 0
    sx, sy, sz = light[0], light[1], light[2]
    ambient, diffuse, fog = light[3], light[4], light[5]
    shadow = light[21] > 0
    cx0, cy0, cz0 = position[0], position[1], position[2]
    cull = np.empty((count, 4))  # direction to each object and cosine of its bounding cone
    for k in range(count):
        o = objects[k]
        vx = o[X] - cx0
        vy = o[Y] - cy0
        vz = o[Z] - cz0
        d = math.sqrt(vx * vx + vy * vy + vz * vz) + 1e-9
        kind = int(o[KIND])
        if kind == SPHERE:
            r = o[A]
        elif kind == BOX:
            r = math.sqrt(o[A] ** 2 + o[B] ** 2 + o[C] ** 2)
        else:
            r = math.sqrt(o[A] ** 2 + o[C] ** 2)
        cull[k, 0] = vx / d
        cull[k, 1] = vy / d
        cull[k, 2] = vz / d
        cull[k, 3] = math.sqrt(1 - (r / d) ** 2) if r < d else -1.0
    aspect = height / width
    for v in range(height):
        for u in range(width):
            cx = (2 * (u + 0.5) / width - 1) * tan_half
            cy = (1 - 2 * (v + 0.5) / height) * tan_half * aspect
            dx = rotation[0, 0] - rotation[0, 1] * cx + rotation[0, 2] * cy
            dy = rotation[1, 0] - rotation[1, 1] * cx + rotation[1, 2] * cy
            dz = rotation[2, 0] - rotation[2, 1] * cx + rotation[2, 2] * cy
            norm = 1 / math.sqrt(dx * dx + dy * dy + dz * dz)
            dx *= norm
            dy *= norm
            dz *= norm
            best = FAR
            which = NOTHING
            nx = 0.0
            ny = 0.0
            nz = 1.0
            if dz < -1e-6:
                best = -cz0 / dz
            for k in range(count):
                if dx * cull[k, 0] + dy * cull[k, 1] + dz * cull[k, 2] < cull[k, 3]:
                    continue
                t, ax, ay, az = _hit(objects[k], cx0, cy0, cz0, dx, dy, dz, best)
                if t < best:
                    best = t
                    which = k
                    nx = ax
                    ny = ay
                    nz = az
            if labels:
                ids[v, u] = which
                depth[v, u] = best
            if best > 150.0:
                f = math.sqrt(min(1.0, max(0.0, dz * 2.2)))
                r = light[18] + (light[15] - light[18]) * f
                g = light[19] + (light[16] - light[19]) * f
                b = light[20] + (light[17] - light[20]) * f
            else:
                x = cx0 + best * dx
                y = cy0 + best * dy
                z = cz0 + best * dz
                if which >= 0:
                    r = objects[which, RED]
                    g = objects[which, GREEN]
                    b = objects[which, BLUE]
                else:
                    m = _ground(x, y, best, light)
                    r = light[9] + (light[12] - light[9]) * m
                    g = light[10] + (light[13] - light[10]) * m
                    b = light[11] + (light[14] - light[11]) * m
                lambert = nx * sx + ny * sy + nz * sz
                if lambert < 0:
                    lambert = 0.0
                elif shadow:
                    for k in range(count):
                        o = objects[k]
                        if k == which and o[KIND] != BOX:
                            continue
                        vx = o[X] - x
                        vy = o[Y] - y
                        vz = o[Z] - z
                        q = vx * sx + vy * sy + vz * sz
                        bound = o[A] ** 2 + o[B] ** 2 + o[C] ** 2
                        if q < -1.5 or vx * vx + vy * vy + vz * vz - q * q > bound:
                            continue
                        t, ax, ay, az = _hit(o, x + nx * 1e-3, y + ny * 1e-3, z + nz * 1e-3,
                                             sx, sy, sz, 1e8)
                        if t < 1e8:
                            lambert = 0.0
                            break
                shade = ambient * (0.75 + 0.25 * nz) + diffuse * lambert
                f = 1 - math.exp(-best * fog)
                r = r * shade + (light[18] - r * shade) * f
                g = g * shade + (light[19] - g * shade) * f
                b = b * shade + (light[20] - b * shade) * f
            image[v, u, 0] = np.uint8(255 * min(1.0, max(0.0, r)))
            image[v, u, 1] = np.uint8(255 * min(1.0, max(0.0, g)))
            image[v, u, 2] = np.uint8(255 * min(1.0, max(0.0, b)))


@njit(cache=True, nogil=True)
def render_batch(images, ids, depths, objects, counts, positions, rotations, tan_half, lights):  # noqa: ANN001, ANN201, E501
    """Draw one frame per world; every array has a leading world axis (see `render`)."""
    for i in range(images.shape[0]):
        render(images[i], ids[i], depths[i], objects[i], counts[i], positions[i], rotations[i],
               tan_half, lights[i])


@njit(cache=True, nogil=True)
def surface_distance(o, x, y, z):  # noqa: ANN001, ANN201
    """Signed distance of a point to an object's surface, m (cones as their bounding pillar)."""
    px = x - o[X]
    py = y - o[Y]
    pz = z - o[Z]
    if o[KIND] == SPHERE:
        return math.sqrt(px * px + py * py + pz * pz) - o[A]
    if o[KIND] == BOX:
        qx = abs(o[COS] * px + o[SIN] * py) - o[A]
        qy = abs(-o[SIN] * px + o[COS] * py) - o[B]
        qz = abs(pz) - o[C]
        outside = math.sqrt(max(qx, 0.0) ** 2 + max(qy, 0.0) ** 2 + max(qz, 0.0) ** 2)
        return outside + min(max(qx, qy, qz), 0.0)
    r = math.sqrt(px * px + py * py) - o[A]
    q = abs(pz) - o[C]
    return math.sqrt(max(r, 0.0) ** 2 + max(q, 0.0) ** 2) + min(max(r, q), 0.0)
