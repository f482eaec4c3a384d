"""Warp kernel for the point of a mesh that is nearest to a given one; the same source runs on CPU and CUDA.

Import this module only through `metrics.surfaces`: importing it starts Warp, which costs half a second.
"""

from typing import no_type_check

import warp as wp

from hmralign.rendering.warp_start import started_warp

started_warp()


# `no_type_check` stands above the kernel because Warp compiles the source itself, see `rendering.zbuffer_kernels`.
@no_type_check
@wp.kernel(enable_backward=False)
def closest(
    mesh: wp.uint64,
    points: wp.array(dtype=wp.vec3),
    reach: float,
    places: wp.array(dtype=wp.vec3),
    faces: wp.array(dtype=wp.int32),
):
    """Nearest place on the mesh and its triangle; -1 where there is none within reach."""
    i = wp.tid()
    query = wp.mesh_query_point_no_sign(mesh, points[i], reach)
    faces[i] = -1
    if query.result:
        faces[i] = query.face
        places[i] = wp.mesh_eval_position(mesh, query.face, query.u, query.v)
