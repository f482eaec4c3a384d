import numpy as np
import pytest
import trimesh

from hmralign.data.mesh_file import KINDS, read_mesh
from hmralign.structures import InputError

BOX = trimesh.creation.box((1.0, 2.0, 3.0))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_box(tmp_path, kind):
    BOX.export(tmp_path / f"a.{kind}")
    vertices, faces = read_mesh(tmp_path / f"a.{kind}")
    again = trimesh.Trimesh(vertices.numpy(), faces.numpy())
    assert again.volume == pytest.approx(6.0) and len(faces) == 12


def test_what_a_mesh_names_is_not_opened(tmp_path):
    (tmp_path / "a.obj").write_text("mtllib secret.mtl\nusemtl x\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    (tmp_path / "secret.mtl").write_text("newmtl x\nmap_Kd /dev/zero\n")
    assert len(read_mesh(tmp_path / "a.obj")[1]) == 1


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.fbx", b"x", "expected a mesh as"),
        ("a.ply", b"no ply", "no mesh|no triangles"),
        ("a.obj", b"v 0 0 0\nv 1 0 0\n", "no mesh|no triangles"),
        ("a.obj", b"v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "not finite"),
        ("a.glb", b"glTF" + bytes(8), "no mesh"),
    ],
)
def test_what_is_no_mesh_is_refused(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_mesh(tmp_path / name)
    with pytest.raises(InputError, match="cannot be read"):
        read_mesh(tmp_path / "missing.obj")


def test_vertices_stay_in_their_order(tmp_path):
    BOX.export(tmp_path / "a.ply")
    assert np.allclose(read_mesh(tmp_path / "a.ply")[0].numpy(), BOX.vertices)
