"""glTF read as its specification says, without a word of the writer: skins and animations, which trimesh leaves out."""

import io
from dataclasses import dataclass

import numpy as np
import pygltflib
import trimesh
from scipy.spatial.transform import Rotation

_TYPES = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
_WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}


@dataclass
class GltfFile:
    content: bytes

    def __post_init__(self):
        self.gltf = pygltflib.GLTF2.load_from_bytes(self.content)
        self.scene = trimesh.load_scene(io.BytesIO(self.content), file_type="glb", process=False)

    def array(self, accessor: int) -> np.ndarray:
        a = self.gltf.accessors[accessor]
        view = self.gltf.bufferViews[a.bufferView]
        data = self.gltf.binary_blob()[view.byteOffset : view.byteOffset + view.byteLength]
        values = np.frombuffer(data, np.dtype(_TYPES[a.componentType]).newbyteorder("<"))
        return values.reshape(a.count, _WIDTHS[a.type])

    def posed_by_trimesh(self, node: int) -> np.ndarray:
        """World matrix of a node as trimesh's scene graph has it, in the pose of the nodes."""
        return self.scene.graph.get(self.gltf.nodes[node].name)[0]

    def world(self, time: float | None = None) -> list[np.ndarray]:
        """World matrix of each node, moved by the animation at `time`, which is one of its key frames."""
        local = [[n.translation or [0, 0, 0], n.rotation or [0, 0, 0, 1]] for n in self.gltf.nodes]
        for clip in self.gltf.animations if time is not None else ():
            for channel in clip.channels:
                sampler = clip.samplers[channel.sampler]
                frame = int(np.abs(self.array(sampler.input)[:, 0] - time).argmin())
                slot = {"translation": 0, "rotation": 1}[channel.target.path]
                local[channel.target.node][slot] = self.array(sampler.output)[frame]
        world: list = [None] * len(local)

        def visit(node: int, above: np.ndarray) -> None:
            matrix = np.eye(4)
            matrix[:3, 3], matrix[:3, :3] = local[node][0], Rotation.from_quat(local[node][1]).as_matrix()
            world[node] = above @ matrix
            for child in self.gltf.nodes[node].children or ():
                visit(child, world[node])

        for root in self.gltf.scenes[self.gltf.scene].nodes:
            visit(root, np.eye(4))
        return world

    def joints(self, skin: int, time: float | None = None) -> np.ndarray:
        world = self.world(time)
        return np.stack([world[j][:3, 3] for j in self.gltf.skins[skin].joints])

    def skinned(self, skin: int, time: float | None = None) -> np.ndarray:
        """Vertices of the mesh that the skin moves."""
        world, found = self.world(time), self.gltf.skins[skin]
        node = next(n for n in self.gltf.nodes if n.skin == skin)
        parts = self.gltf.meshes[node.mesh].primitives[0].attributes
        bind = self.array(found.inverseBindMatrices).reshape(-1, 4, 4).swapaxes(1, 2)
        matrices = np.stack([world[j] for j in found.joints]) @ bind
        points = np.concatenate([self.array(parts.POSITION), np.ones((self.array(parts.POSITION).shape[0], 1))], axis=1)
        moved = np.einsum("vkab,vb->vka", matrices[self.array(parts.JOINTS_0)], points)
        return (self.array(parts.WEIGHTS_0)[..., None] * moved).sum(axis=1)[:, :3]
