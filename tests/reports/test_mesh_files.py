"""Mesh files come back as they were, stand upright, and are never half written."""

import json
import struct

import numpy as np
import pytest
import trimesh

from hmralign.reports.mesh_files import write_glb, write_obj
from hmralign.structures import InputError
from support.capsule_figure import capsule_figure
from support.gltf_validator import validator_report
from support.mesh_reader import read_mesh


def _mesh():
    vertices, faces = capsule_figure()
    return vertices[0].numpy(), faces.numpy()


@pytest.mark.parametrize(("write", "name"), [(write_glb, "body.glb"), (write_obj, "body.obj")])
def test_round_trip_keeps_order_and_place(tmp_path, write, name):
    vertices, faces = _mesh()
    path = write(tmp_path / "new" / name, vertices, faces)
    back, back_faces = read_mesh(path)
    assert np.abs(back - vertices).max() < 1e-6
    assert np.array_equal(back_faces, faces)
    assert [p.name for p in path.parent.iterdir()] == [name]


@pytest.mark.parametrize(("write", "name"), [(write_glb, "body.glb"), (write_obj, "body.obj")])
def test_in_the_file_the_body_stands_upright_before_the_camera(tmp_path, write, name):
    vertices, faces = _mesh()
    raw = trimesh.load_mesh(write(tmp_path / name, vertices, faces), process=False)
    head = vertices[:, 1].argmin()  # y down in the cam frame
    assert raw.vertices[:, 1].argmax() == head
    assert raw.vertices[:, 2].max() < 0
    # A turn, not a mirror: outside stays outside.
    assert raw.volume == pytest.approx(trimesh.Trimesh(vertices, faces, process=False).volume, rel=1e-5)
    assert raw.volume > 0


def test_glb_keeps_vertex_colors(tmp_path):
    vertices, faces = _mesh()
    colors = np.random.default_rng(0).random((len(vertices), 3)).astype(np.float32)
    path = write_glb(tmp_path / "body.glb", vertices, faces, colors)
    back = trimesh.load_mesh(path, process=False).visual.vertex_colors[:, :3] / 255
    assert np.abs(back - colors).max() <= 0.5 / 255 + 1e-6
    content = path.read_bytes()
    length = struct.unpack("<I", content[12:16])[0]
    attributes = json.loads(content[20 : 20 + length])["meshes"][0]["primitives"][0]["attributes"]
    assert "COLOR_0" in attributes


def test_a_plain_body_is_a_smooth_matt_mannequin_for_the_validator_too(tmp_path):
    vertices, faces = _mesh()
    path = write_glb(tmp_path / "body.glb", vertices, faces)
    content = path.read_bytes()
    length = struct.unpack("<I", content[12:16])[0]
    header = json.loads(content[20 : 20 + length])
    surface = header["materials"][0]["pbrMetallicRoughness"]
    assert surface["metallicFactor"] == 0 and surface["roughnessFactor"] > 0.5
    red, _, blue, alpha = surface["baseColorFactor"]
    assert 0.4 < blue < red < 0.7 and alpha == 1
    assert "NORMAL" in header["meshes"][0]["primitives"][0]["attributes"]
    report = validator_report(path)
    assert report["issues"]["numErrors"] == report["issues"]["numWarnings"] == 0


def test_a_refused_mesh_leaves_no_file(tmp_path):
    vertices, faces = _mesh()
    with pytest.raises(InputError, match="finite"):
        write_glb(tmp_path / "body.glb", vertices * np.nan, faces)
    assert list(tmp_path.iterdir()) == []


def test_an_obj_file_is_what_trimesh_writes(tmp_path):
    from trimesh.exchange.obj import export_obj

    vertices, faces = _mesh()
    header = "hmralign: metres, y up, camera at the origin looking along -z"
    mesh = trimesh.Trimesh(vertices.astype(np.float64) * [1, -1, -1], faces, process=False)
    expected = export_obj(mesh, include_normals=False, include_color=False, header=header)
    assert write_obj(tmp_path / "a.obj", vertices, faces).read_text() == expected
    fewer = faces[:-5]  # faces are kept as text: others are not mistaken for them
    again = write_obj(tmp_path / "b.obj", vertices, fewer).read_text()
    assert again.count("\nf ") == len(fewer) and again != expected
    assert write_obj(tmp_path / "c.obj", vertices, faces.astype(np.int32)).read_text() == expected
