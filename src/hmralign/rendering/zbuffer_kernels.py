"""Warp kernels of the z-buffer; the same source runs on CPU and CUDA.

Import this module only through `rendering.zbuffer`: importing it starts Warp, which costs half a second.

| name in code | meaning |
| --- | --- |
| screen | projected vertex: column, row (pixels), depth z (metres) |
| key | quantised depth << 32 | triangle index; the smallest key wins a pixel |
| bary | perspective-correct weights of a triangle's three vertices |
"""

from typing import no_type_check

import warp as wp

from hmralign.rendering.warp_start import started_warp

started_warp()

EMPTY_KEY = 2**63 - 1
"""Key of a pixel that no triangle covers."""

STEPS_PER_METRE = 65536.0
"""Depth is compared in steps of 15 micrometres, so that nearly coplanar triangles tie and the lower index wins."""

_MAX_STEPS = 2.0e9

RUN = 16
"""Triangles, vertices or pixels of a row that one thread works through: a CPU pays for each thread as for a pixel."""

# `no_type_check` stands above every kernel because Warp compiles the source itself: runtime type checkers that wrap
# functions would hand it the wrapper.


@no_type_check
@wp.func
def edge(a: wp.vec3, b: wp.vec3, x: wp.float64, y: wp.float64) -> wp.float64:
    """Twice the signed area of (a, b, pixel).

    In double precision: the inputs are single, so the sign is exact in practice and two triangles that share an edge
    can never both miss a pixel on it.
    """
    ax = wp.float64(a[0])
    ay = wp.float64(a[1])
    return (wp.float64(b[0]) - ax) * (y - ay) - (wp.float64(b[1]) - ay) * (x - ax)


@no_type_check
@wp.func
def seen_point(screen: wp.array2d(dtype=wp.vec3), batch: int, face: wp.vec3i, column: int, row: int) -> wp.vec4:
    """Perspective-correct weights of a triangle's three vertices at a pixel of the whole picture, and the depth there.

    Screen-space weights divided by depth, made to add up to one; all are multiplied by the three depths and twice the
    area, so that one division is left.
    """
    a = screen[batch, face[0]]
    b = screen[batch, face[1]]
    c = screen[batch, face[2]]
    x = wp.float64(column)
    y = wp.float64(row)
    za = wp.float64(a[2])
    zb = wp.float64(b[2])
    zc = wp.float64(c[2])
    ea = edge(b, c, x, y)
    eb = edge(c, a, x, y)
    ec = edge(a, b, x, y)
    wa = ea * zb * zc
    wb = eb * zc * za
    wc = ec * za * zb
    share = wp.float64(1.0) / (wa + wb + wc)
    z = (ea + eb + ec) * za * zb * zc * share
    return wp.vec4(float(wa * share), float(wb * share), float(wc * share), float(z))


@no_type_check
@wp.kernel(enable_backward=False)
def project(vertices: wp.array2d(dtype=wp.vec3), K: wp.array(dtype=wp.mat33), screen: wp.array2d(dtype=wp.vec3)):
    """Pinhole projection of every vertex; points at or behind the camera are left for `rasterize` to drop."""
    batch, vert = wp.tid()
    point = vertices[batch, vert]
    k = K[batch]
    z = point[2]
    safe = wp.max(z, 1.0e-6)
    column = (k[0, 0] * point[0] + k[0, 1] * point[1]) / safe + k[0, 2]
    row = k[1, 1] * point[1] / safe + k[1, 2]
    screen[batch, vert] = wp.vec3(column, row, z)


@no_type_check
@wp.func
def drawn_area(a: wp.vec3, b: wp.vec3, c: wp.vec3, near: float, fronts_only: int) -> wp.float64:
    """Twice the signed area of a triangle on screen; 0 where it is not drawn: too near or, if asked, a back."""
    area = edge(a, b, wp.float64(c[0]), wp.float64(c[1]))
    if wp.min(a[2], wp.min(b[2], c[2])) <= near or (fronts_only != 0 and area > wp.float64(0.0)):
        return wp.float64(0.0)
    return area


@no_type_check
@wp.func
def pixel_box(a: wp.vec3, b: wp.vec3, c: wp.vec3, first_column: int, first_row: int, columns: int, rows: int):
    """First and last column and row (left, top, right, bottom) of the window that a triangle may cover.

    Clamped before the cast: a vertex close to the camera projects further out than an int can say.
    """
    low_column = float(first_column)
    low_row = float(first_row)
    last_column = float(first_column + columns - 1)
    last_row = float(first_row + rows - 1)
    return wp.vec4i(
        int(wp.ceil(wp.clamp(wp.min(a[0], wp.min(b[0], c[0])), low_column, last_column + 1.0))),
        int(wp.ceil(wp.clamp(wp.min(a[1], wp.min(b[1], c[1])), low_row, last_row + 1.0))),
        int(wp.floor(wp.clamp(wp.max(a[0], wp.max(b[0], c[0])), low_column - 1.0, last_column))),
        int(wp.floor(wp.clamp(wp.max(a[1], wp.max(b[1], c[1])), low_row - 1.0, last_row))),
    )


@no_type_check
@wp.kernel(enable_backward=False)
def rasterize(
    screen: wp.array2d(dtype=wp.vec3),
    faces: wp.array(dtype=wp.vec3i),
    near: float,
    first_column: int,
    first_row: int,
    fronts_only: int,
    keys: wp.array3d(dtype=wp.int64),
):
    """Walk the bounding box of each of a run of triangles and offer its key to every covered pixel.

    `keys` is the part of the picture that begins at the first column and row. With `fronts_only` triangles that turn
    their inside to the camera are left out: on screen, y down, their corners run clockwise.
    """
    batch, run = wp.tid()
    for triangle in range(run * wp.static(RUN), wp.min(run * wp.static(RUN) + wp.static(RUN), faces.shape[0])):
        face = faces[triangle]
        a = screen[batch, face[0]]
        b = screen[batch, face[1]]
        c = screen[batch, face[2]]
        box = pixel_box(a, b, c, first_column, first_row, keys.shape[2], keys.shape[1])
        if box[0] > box[2] or box[1] > box[3]:  # between the pixels' centres, as many are
            continue
        area = drawn_area(a, b, c, near, fronts_only)
        if area == wp.float64(0.0):
            continue
        inverse_area = wp.float64(1.0) / area
        for row in range(box[1], box[3] + 1):
            for column in range(box[0], box[2] + 1):
                x = wp.float64(column)
                y = wp.float64(row)
                w0 = edge(b, c, x, y) * inverse_area
                w1 = edge(c, a, x, y) * inverse_area
                w2 = edge(a, b, x, y) * inverse_area
                if w0 >= wp.float64(0.0) and w1 >= wp.float64(0.0) and w2 >= wp.float64(0.0):
                    inverse_depth = float(w0) / a[2] + float(w1) / b[2] + float(w2) / c[2]
                    steps = wp.min(wp.static(STEPS_PER_METRE) / inverse_depth, wp.static(_MAX_STEPS))
                    key = (wp.int64(steps) << wp.int64(32)) | wp.int64(triangle)
                    wp.atomic_min(keys, batch, row - first_row, column - first_column, key)


@no_type_check
@wp.kernel(enable_backward=False)
def cover(
    screen: wp.array2d(dtype=wp.vec3),
    faces: wp.array(dtype=wp.vec3i),
    near: float,
    first_column: int,
    first_row: int,
    fronts_only: int,
    covered: wp.array3d(dtype=wp.uint8),
):
    """The pixels that `rasterize` would offer a key to, without depth: whoever is there first says so for all."""
    batch, run = wp.tid()
    for triangle in range(run * wp.static(RUN), wp.min(run * wp.static(RUN) + wp.static(RUN), faces.shape[0])):
        face = faces[triangle]
        a = screen[batch, face[0]]
        b = screen[batch, face[1]]
        c = screen[batch, face[2]]
        box = pixel_box(a, b, c, first_column, first_row, covered.shape[2], covered.shape[1])
        if box[0] > box[2] or box[1] > box[3]:  # between the pixels' centres, as many are
            continue
        area = drawn_area(a, b, c, near, fronts_only)
        if area == wp.float64(0.0):
            continue
        turn = wp.sign(area)
        for row in range(box[1], box[3] + 1):
            for column in range(box[0], box[2] + 1):
                if covered[batch, row - first_row, column - first_column] == wp.uint8(0):
                    x = wp.float64(column)
                    y = wp.float64(row)
                    inside = wp.min(turn * edge(b, c, x, y), wp.min(turn * edge(c, a, x, y), turn * edge(a, b, x, y)))
                    if inside >= wp.float64(0.0):
                        covered[batch, row - first_row, column - first_column] = wp.uint8(1)


@no_type_check
@wp.kernel(enable_backward=False)
def vertex_normals(
    vertices: wp.array2d(dtype=wp.vec3),
    faces: wp.array(dtype=wp.vec3i),
    incident_start: wp.array(dtype=wp.int32),
    incident_faces: wp.array(dtype=wp.int32),
    normals: wp.array2d(dtype=wp.vec3),
):
    """Area-weighted mean of the incident faces' normals, added in list order: bit-reproducible on every device."""
    batch, run = wp.tid()
    for vert in range(run * wp.static(RUN), wp.min(run * wp.static(RUN) + wp.static(RUN), vertices.shape[1])):
        total = wp.vec3(0.0, 0.0, 0.0)
        for i in range(incident_start[vert], incident_start[vert + 1]):
            face = faces[incident_faces[i]]
            a = vertices[batch, face[0]]
            total += wp.cross(vertices[batch, face[1]] - a, vertices[batch, face[2]] - a)
        normals[batch, vert] = wp.normalize(total)


@no_type_check
@wp.func
def smooth_normal(
    w: wp.vec3,
    batch: int,
    face: wp.vec3i,
    vertices: wp.array2d(dtype=wp.vec3),
    normals: wp.array2d(dtype=wp.vec3),
):
    """Unit normal at perspective-correct weights of a triangle."""
    normal = w[0] * normals[batch, face[0]] + w[1] * normals[batch, face[1]] + w[2] * normals[batch, face[2]]
    length = wp.length(normal)
    if length < 1.0e-6:  # the vertex normals cancel: take the flat one
        a = vertices[batch, face[0]]
        return wp.normalize(wp.cross(vertices[batch, face[1]] - a, vertices[batch, face[2]] - a))
    return normal / length


@no_type_check
@wp.kernel(enable_backward=False)
def resolve(
    covered: wp.array(dtype=wp.int64),
    keys: wp.array3d(dtype=wp.int64),
    screen: wp.array2d(dtype=wp.vec3),
    vertices: wp.array2d(dtype=wp.vec3),
    faces: wp.array(dtype=wp.vec3i),
    normals: wp.array2d(dtype=wp.vec3),
    first_column: int,
    first_row: int,
    depth_image: wp.array3d(dtype=wp.float32),
    bary_image: wp.array3d(dtype=wp.vec3),
    normal_image: wp.array3d(dtype=wp.vec3),
):
    """Depth, perspective-correct weights and smooth normal of the triangle that won each covered pixel.

    `covered` counts pixels through the whole batch: only those get a thread, as most pixels of a picture are empty. A
    picture that was not asked for comes as an empty array and is skipped.
    """
    pixel = covered[wp.tid()]
    width = wp.int64(keys.shape[2])
    area = wp.int64(keys.shape[1]) * width
    batch = int(pixel / area)
    row = int((pixel % area) / width)
    column = int(pixel % width)
    face = faces[wp.int32(keys[batch, row, column] & wp.int64(0xFFFFFFFF))]
    point = seen_point(screen, batch, face, first_column + column, first_row + row)
    w = wp.vec3(point[0], point[1], point[2])
    if depth_image.shape[0] > 0:
        depth_image[batch, row, column] = point[3]
    if bary_image.shape[0] > 0:
        bary_image[batch, row, column] = w
    if normal_image.shape[0] > 0:
        normal_image[batch, row, column] = smooth_normal(w, batch, face, vertices, normals)


@no_type_check
@wp.kernel(enable_backward=False)
def paint(
    keys: wp.array3d(dtype=wp.int64),
    screen: wp.array2d(dtype=wp.vec3),
    vertices: wp.array2d(dtype=wp.vec3),
    faces: wp.array(dtype=wp.vec3i),
    normals: wp.array2d(dtype=wp.vec3),
    first_column: int,
    first_row: int,
    finer: int,
    color: wp.vec3,
    colors: wp.array2d(dtype=wp.vec3),
    light: wp.vec3,
    nearest: wp.array2d(dtype=wp.float32),
    faint: float,
    layers: wp.array3d(dtype=wp.vec4),
    alpha: float,
    pictures: wp.array3d(dtype=wp.vec3ub),
):
    """Mean colour and coverage of the `finer` x `finer` pixels of each coarse one of a run: normals as `resolve` has
    them, lit as `shading.shade` lights them (`light` is ambient, headlight, sky), added row by row.

    `colors` are those of the vertices; where there are none all is of one `color`. A finer pixel before which something
    is `nearest` (if anything is) counts `faint` times. Goes into `layers`, colours multiplied by coverage, or is
    blended into whole 8-bit `pictures` as `shading.blend` does; one of the two is empty.
    """
    batch, row, run = wp.tid()
    share = float(finer * finer)
    columns = keys.shape[2] / finer
    for column in range(run * wp.static(RUN), wp.min(run * wp.static(RUN) + wp.static(RUN), columns)):
        red = wp.float32(0.0)
        green = wp.float32(0.0)
        blue = wp.float32(0.0)
        count = wp.float32(0.0)
        for fine_row in range(row * finer, row * finer + finer):
            for fine_column in range(column * finer, column * finer + finer):
                key = keys[batch, fine_row, fine_column]
                if key != wp.static(wp.int64(EMPTY_KEY)):
                    face = faces[wp.int32(key & wp.int64(0xFFFFFFFF))]
                    point = seen_point(screen, batch, face, first_column + fine_column, first_row + fine_row)
                    w = wp.vec3(point[0], point[1], point[2])
                    normal = smooth_normal(w, batch, face, vertices, normals)
                    base = color
                    if colors.shape[0] > 0:
                        base = w[0] * colors[batch, face[0]] + w[1] * colors[batch, face[1]]
                        base += w[2] * colors[batch, face[2]]
                    lit = light[0] + light[1] * wp.abs(normal[2]) + light[2] * (0.5 - 0.5 * normal[1])
                    part = wp.float32(1.0)
                    if nearest.shape[0] > 0:
                        if nearest[fine_row, fine_column] < point[3]:
                            part = faint
                    red += part * wp.clamp(base[0] * lit, 0.0, 1.0)
                    green += part * wp.clamp(base[1] * lit, 0.0, 1.0)
                    blue += part * wp.clamp(base[2] * lit, 0.0, 1.0)
                    count += part
        if count > 0.0:
            pixel = wp.vec4(red / share, green / share, blue / share, count / share)
            if layers.shape[0] > 0:
                layers[batch, row, column] = pixel
            else:
                place_row = row + first_row / finer
                place_column = column + first_column / finer
                photo = pictures[batch, place_row, place_column]
                through = 1.0 - alpha * pixel[3]
                pictures[batch, place_row, place_column] = wp.vec3ub(
                    wp.uint8(wp.rint(wp.clamp(float(photo[0]) / 255.0 * through + alpha * pixel[0], 0.0, 1.0) * 255.0)),
                    wp.uint8(wp.rint(wp.clamp(float(photo[1]) / 255.0 * through + alpha * pixel[1], 0.0, 1.0) * 255.0)),
                    wp.uint8(wp.rint(wp.clamp(float(photo[2]) / 255.0 * through + alpha * pixel[2], 0.0, 1.0) * 255.0)),
                )
