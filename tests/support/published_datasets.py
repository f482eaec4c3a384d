"""Small stand-ins for published data sets, in their formats, of persons whose truth is known.

The body is the free body posing as an SMPL-shaped file (`body_files.stand_in`), with a pelvis that is not the origin,
so that a frame that is changed wrongly is seen. Every person is made in the axes of the camera; each writer turns it
into the axes and units of its format.
"""

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from hmralign.adapters.persons import AdaptedPersons
from hmralign.body.body_file import load_body
from hmralign.body.lbs import posed_joints, posed_keypoints, rest_joints, vertices
from hmralign.body.model import BodyModel
from hmralign.body.skeleton import KEYPOINT_NAMES
from hmralign.data.names import DATASETS
from hmralign.detection.keypoint_conventions import OPENPOSE_BODY25
from hmralign.geometry.cameras import project
from hmralign.geometry.rotations import rotmat_to_rotvec, rotvec_to_rotmat
from hmralign.structures import BodyParams
from hmralign.structures.extensions import load_extension
from support.body_files import python2_pickle, stand_in, write_npz

WIDTH, HEIGHT = 320, 240


@dataclass(frozen=True)
class People:
    """Persons in `cam`, metres, on a stand-in body; pixels of an image of WIDTH x HEIGHT."""

    body: BodyModel
    params: BodyParams
    K: torch.Tensor

    def __len__(self) -> int:
        return len(self.params.transl)

    @property
    def joints(self) -> torch.Tensor:
        return posed_joints(self.body, self.params)

    @property
    def points(self) -> torch.Tensor:
        return project(self.joints, self.K)

    @property
    def surface(self) -> torch.Tensor:
        return project(posed_keypoints(self.body, self.params), self.K)

    @property
    def poses(self) -> np.ndarray:
        return rotmat_to_rotvec(self.params.rotmats).numpy()

    @property
    def rest_pelvis(self) -> torch.Tensor:
        return rest_joints(self.body, self.params.betas)[:, 0]

    def box(self, row: int) -> list[float]:
        """x, y, width, height around the joints in the image."""
        low, high = self.points[row].amin(0), self.points[row].amax(0)
        return [*low.tolist(), *(high - low).tolist()]

    def in_world(self, T_cam_world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Root rotation vectors and translations in the axes of a world."""
        R, t = torch.from_numpy(T_cam_world[..., :3, :3]).float(), torch.from_numpy(T_cam_world[..., :3, 3]).float()
        root = R.mT @ self.params.global_orient
        J0 = self.rest_pelvis
        transl = (R.mT @ (self.params.transl + J0 - t)[..., None])[..., 0] - J0
        return rotmat_to_rotvec(root).numpy(), transl.numpy()


def opener(dataset: str) -> Callable[..., AdaptedPersons]:
    """What opens a published data set. The check of types of `open_dataset`'s result would make all of its persons."""
    return load_extension("datasets", DATASETS[dataset])


@lru_cache
def body_file(folder: str, joints: int = 24, scale: float = 1.0, name: str | None = None) -> Path:
    return write_npz(Path(folder), stand_in(joints, scale=scale), name)


@lru_cache
def people(body_path: Path, count: int = 4, seed: int = 0) -> People:
    """Nobody is symmetric: an arm is up on one side, so that exchanged sides are seen."""
    draw = torch.Generator().manual_seed(seed)
    body = load_body(body_path)
    vectors = 0.25 * torch.randn(count, 24, 3, generator=draw)
    vectors[:, 16, 2] += 1.0  # the left upper arm
    vectors[:, 22:] = 0  # SMPL-X has no such joints
    rotmats = rotvec_to_rotmat(vectors)
    upright = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    turn = rotvec_to_rotmat(torch.tensor([[0.0, 0.5, 0.0]]) * torch.randn(count, 1, generator=draw))
    rotmats[:, 0] = turn @ upright @ rotmats[:, 0]
    betas = 0.5 * torch.randn(count, 10, generator=draw)
    place = torch.tensor([0.0, 0.1, 4.5]) + 0.2 * torch.randn(count, 3, generator=draw)
    K = torch.tensor([[350.0, 0, 158.0], [0, 355.0, 121.0], [0, 0, 1]])
    params = BodyParams(rotmats[:, 0], rotmats[:, 1:], betas, place - rest_joints(body, betas)[:, 0])
    return People(body, params, K)


def world_to_cam(count: int, seed: int = 1) -> np.ndarray:
    """(count, 4, 4) rigid transforms far from the identity."""
    draw = torch.Generator().manual_seed(seed)
    T = np.tile(np.eye(4), (count, 1, 1))
    T[:, :3, :3] = rotvec_to_rotmat(torch.randn(count, 3, generator=draw)).numpy()
    T[:, :3, 3] = torch.randn(count, 3, generator=draw).numpy()
    return T


def photo(path: Path, points: np.ndarray, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    """A picture on which every joint is a dot."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, (90, 110, 120))
    pen = ImageDraw.Draw(image)
    for x, y in points:
        pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=(230, 60, 60))
    image.save(path)


def openpose18(who: People) -> np.ndarray:
    """(N, 18, 3) in OpenPose's COCO order: nose, neck, right arm, left arm, right leg, left leg, eyes, ears."""
    order = [0, None, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3]
    surface, found = who.surface.numpy(), np.zeros((len(who), 18, 3))
    for place, ours in enumerate(order):
        if ours is not None:
            found[:, place, :2], found[:, place, 2] = surface[:, ours], 0.9
    return found


def openpose25(who: People) -> np.ndarray:
    """(N, 25, 3) in OpenPose's BODY_25."""
    found = np.zeros((len(who), 25, 3))
    for name, place in OPENPOSE_BODY25.place.items():
        found[:, place, :2] = who.surface[:, KEYPOINT_NAMES.index(name)].numpy()
        found[:, place, 2] = 0.9
    return found


# -- the formats -------------------------------------------------------------------------------------------------------


def write_3dpw(folder: Path, who: People, *, split: str = "test", gender: str = "m", change=None) -> Path:
    """One sequence with two persons, of whom the second is the first one's frames backwards; a frame is not valid."""
    n = len(who)
    T = world_to_cam(n)
    root, transl = who.in_world(T)
    poses = who.poses.copy()
    poses[:, 0] = root
    R, t = T[:, :3, :3], T[:, :3, 3]
    joints = np.einsum("fba,fjb->fja", R, who.joints[:, :24].numpy() - t[:, None])
    valid = np.ones(n, np.int64)
    valid[-1] = 0
    content = {
        "sequence": "walk_00", "betas": [who.params.betas[0].double().numpy()] * 1,
        "poses": [poses.reshape(n, 72).astype(np.float64)], "trans": [transl.astype(np.float64)],
        "poses2d": [np.swapaxes(openpose18(who), 1, 2)], "jointPositions": [joints.reshape(n, 72)],
        "img_frame_ids": np.arange(n) * 2, "cam_poses": T, "campose_valid": [valid],
        "cam_intrinsics": who.K.double().numpy(), "genders": [gender], "texture_maps": [],
        "betas_clothed": [np.zeros(10)], "v_template_clothed": [np.zeros((5, 3))],
    }  # fmt: skip
    if change is not None:
        change(content)
    path = folder / "sequenceFiles" / {"val": "validation"}.get(split, split) / "walk_00.pkl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(python2_pickle(content, 2))
    for row in range(n):
        photo(folder / f"imageFiles/walk_00/image_{row:05d}.jpg", who.points[row].numpy())
    return folder


def joints24(who: People, unit: float = 1.0) -> list:
    return (who.joints[:, :24] * unit).tolist()


def write_3dpw_json(folder: Path, who: People, *, split: str = "test", change=None) -> Path:
    """COCO's layout: annotations name their images, and stand in another order; metres, or millimetres for train."""
    unit = 1000.0 if split == "train" else 1.0
    images, annotations = [], []
    for row in range(len(who)):
        name = f"image_{row:05d}.jpg"
        images.append({
            "id": 100 + row, "file_name": name, "sequence": "walk_00", "width": WIDTH, "height": HEIGHT,
            "cam_param": {"focal": [float(who.K[0, 0]), float(who.K[1, 1])], "princpt": who.K[:2, 2].tolist()},
        })  # fmt: skip
        depth = who.joints[row, :24, 2:].numpy()
        annotations.insert(0, {
            "id": row, "image_id": 100 + row, "bbox": who.box(row),
            "smpl_param": {
                "shape": who.params.betas[row].tolist(), "pose": who.poses[row].reshape(-1).tolist(),
                "trans": who.params.transl[row].tolist(),
            },
            "h36m_joints": who.joints[row, :17].tolist(),
            "smpl_joint_cam": (who.joints[row, :24] * unit).tolist(),
            "smpl_joint_img": np.concatenate([who.points[row, :24].numpy(), depth], axis=1).tolist(),
        })  # fmt: skip
        photo(folder / f"imageFiles/walk_00/{name}", who.points[row].numpy())
    return write_json(folder / f"annotations/3DPW_{split}.json", {"images": images, "annotations": annotations}, change)


def write_json(path: Path, content: dict, change=None) -> Path:
    if change is not None:
        change(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path.parents[1]


H36M_TEST = "Sample_20_test_Human36M_smpl_protocol_2.json"
H36M_TRAIN = "Sample_5_train_Human36M_smpl_leaf_twist_protocol_2.json"


def write_h36m(folder: Path, who: People, *, split: str = "test", about_root: bool = False, change=None) -> Path:
    """Two lists that belong together item by item, millimetres; 29 joints in train files."""
    images, annotations = [], []
    for row in range(len(who)):
        name = f"s_11_act_{row + 2:02d}_subact_01_ca_01/frame_{row:06d}.jpg"
        joints, root = who.joints[row] * 1000, who.joints[row, 0] * 1000
        joints = (joints - root if about_root else joints)[: 29 if split == "train" else 24]
        images.append({
            "id": row, "file_name": name, "width": WIDTH, "height": HEIGHT,
            "cam_param": {"f": [float(who.K[0, 0]), float(who.K[1, 1])], "c": who.K[:2, 2].tolist()},
        })  # fmt: skip
        annotations.append({
            "id": row, "image_id": row, "bbox": who.box(row), "h36m_joints": (who.joints[row, :17] * 1000).tolist(),
            "smpl_joints": joints.tolist(), "betas": who.params.betas[row].tolist(),
            "thetas": who.poses[row].reshape(-1).tolist(), "root_coord": root.tolist(),
        })  # fmt: skip
        photo(folder / "images" / name, who.points[row].numpy())
    content = {"images": images, "annotations": annotations}
    return write_json(folder / "annotations" / (H36M_TRAIN if split == "train" else H36M_TEST), content, change)


def write_emdb(folder: Path, who: People, *, gender: str = "female", change=None) -> Path:
    """One sequence of one person; the last frame is no good one."""
    n = len(who)
    T = world_to_cam(n)
    root, transl = who.in_world(T)
    good = np.ones(n, bool)
    good[-1] = False
    content = {
        "name": "P0_00_walk", "gender": gender, "n_frames": n, "emdb1": True, "emdb2": False, "good_frames_mask": good,
        "camera": {"intrinsics": who.K.double().numpy(), "extrinsics": T, "width": WIDTH, "height": HEIGHT},
        "smpl": {
            "poses_root": root, "poses_body": who.poses[:, 1:].reshape(n, 69), "trans": transl,
            "betas": who.params.betas[0].double().numpy(),
        },
        "kp2d": who.points[:, :24].numpy(),
        "bboxes": {"bboxes": np.array([_corners(who, row) for row in range(n)]), "invalid_idxs": np.zeros(0, np.int64)},
    }  # fmt: skip
    if change is not None:
        change(content)
    path = folder / "P0/00_walk/00_walk_data.pkl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content))
    for row in range(n):
        photo(path.parent / f"images/{row:05d}.jpg", who.points[row].numpy())
    return folder


def _corners(who: People, row: int) -> list[float]:
    x, y, width, height = who.box(row)
    return [x, y, x + width, y + height]


def write_bedlam(folder: Path, who: People, *, change=None) -> Path:
    """One scene; the place is split over trans_cam and the last column of cam_ext."""
    n = len(who)
    poses = np.zeros((n, 165))
    poses[:, :66] = who.poses[:, :22].reshape(n, 66)
    ext = world_to_cam(n)
    corners = np.array([_corners(who, row) for row in range(n)])
    content = {
        "imgname": np.array([f"seq_000000/seq_000000_{row:04d}.png" for row in range(n)]),
        "center": (corners[:, :2] + corners[:, 2:]) / 2, "scale": (corners[:, 2:] - corners[:, :2]).max(1) / 200,
        "pose_cam": poses, "shape": np.pad(who.params.betas.numpy(), ((0, 0), (0, 1))),
        "trans_cam": who.params.transl.numpy() - ext[:, :3, 3], "cam_int": np.tile(who.K.numpy(), (n, 1, 1)),
        "cam_ext": ext, "gtkps": np.pad(who.points[:, :22].numpy(), ((0, 0), (0, 105), (0, 1)), constant_values=1.0),
        "gender": np.array(["neutral"] * n), "sub": np.array(["rp_anna"] * n),
    }  # fmt: skip
    if change is not None:
        change(content)
    (folder / "labels").mkdir(parents=True, exist_ok=True)
    np.savez(folder / "labels/20221010_3_1000_batch01hand.npz", **content)
    for row in range(n):
        name = f"images/20221010_3_1000_batch01hand/png/seq_000000/seq_000000_{row:04d}.png"
        photo(folder / name, who.points[row].numpy())
    return folder


HUMAN_DATA_OF_JOINT = [*range(22), 188, 189]
"""Places of the first 24 joints among the 190."""
HUMAN_DATA_COCO = [55, 57, 56, 59, 58, 16, 17, 18, 19, 20, 21, 145, 144, 4, 5, 7, 8]
"""Places of COCO's 17 keypoints, as the converter of COCO has them."""


def write_human_data(
    folder: Path, who: People, *, family: str = "smpl", compressed: bool = False, camera: bool = True,
    placed: bool = True, name: str = "toy_train", change=None,
) -> Path:  # fmt: skip
    """One archive: keypoints of the body's joints, and COCO's as they were marked."""
    n, joints = len(who), 23 if family == "smpl" else 21
    body = {
        "global_orient": who.poses[:, 0], "body_pose": who.poses[:, 1 : 1 + joints], "betas": who.params.betas.numpy(),
    }  # fmt: skip
    if placed:
        body["transl"] = who.params.transl.numpy()
    true, marked = np.zeros((n, 190, 3)), np.zeros((n, 190, 3))
    true[:, HUMAN_DATA_OF_JOINT[: joints + 1], :2] = who.points[:, : joints + 1].numpy()
    true[:, HUMAN_DATA_OF_JOINT[: joints + 1], 2] = 1
    marked[:, HUMAN_DATA_COCO, :2], marked[:, HUMAN_DATA_COCO, 2] = who.surface[:, :17].numpy(), 1
    masks = {key: (points[0, :, 2] > 0).astype(np.uint8) for key, points in (("true", true), ("marked", marked))}
    if compressed:
        true, marked = true[:, masks["true"] > 0], marked[:, masks["marked"] > 0]
    meta = {"gender": ["neutral"] * n, "height": [HEIGHT] * n, "width": [WIDTH] * n}
    if camera:
        meta["focal_length"] = np.tile([float(who.K[0, 0]), float(who.K[1, 1])], (n, 1))
        meta["principal_point"] = np.tile(who.K[:2, 2].numpy(), (n, 1))
    content = {
        "image_path": np.array([f"toy/{row:04d}.jpg" for row in range(n)]),
        "bbox_xywh": np.array([[*who.box(row), 1.0] for row in range(n)]), family: body,
        f"keypoints2d_{family}": true, f"keypoints2d_{family}_mask": masks["true"],
        "keypoints2d_original": marked, "keypoints2d_original_mask": masks["marked"],
        "meta": meta, "misc": {"bbox_source": "keypoints2d"}, "__keypoints_compressed__": compressed,
    }  # fmt: skip
    if change is not None:
        change(content)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / f"{name}.npz", **content)
    for row in range(n):
        photo(folder / f"images/toy/{row:04d}.jpg", who.points[row].numpy())
    return folder


def write_hybrik_json(folder: Path, who: People, *, about_root: bool = True, change=None) -> Path:
    """Pseudo-labels: millimetres about the root; the place follows from the points in the image."""
    images, annotations = [], []
    for row in range(len(who)):
        joints = (who.joints[row] - (who.joints[row, :1] if about_root else 0)) * 1000
        images.append({"id": f"p{row}", "file_name": f"train2017/{row:012d}.jpg", "width": WIDTH, "height": HEIGHT})
        annotations.append({
            "id": row, "image_id": f"p{row}", "bbox": who.box(row), "f": [float(who.K[0, 0]), float(who.K[1, 1])],
            "c": who.K[:2, 2].tolist(), "joint_cam_29": joints.tolist(), "joint_img_29": who.points[row].tolist(),
            "smpl_param": {"shape": who.params.betas[row].tolist(), "pose": who.poses[row].reshape(-1).tolist()},
            "joint_cam_valid": [1.0],
        })  # fmt: skip
        photo(folder / f"images/train2017/{row:012d}.jpg", who.points[row].numpy())
    return write_json(folder / "annotations/coco_train.json", {"images": images, "annotations": annotations}, change)


MPI_28 = {4: 0, 18: 1, 23: 2, 3: 3, 19: 4, 24: 5, 2: 6, 20: 7, 25: 8, 0: 9, 22: 10, 27: 11, 5: 12, 8: 13, 13: 14, 6: 15,
          9: 16, 14: 17, 10: 18, 15: 19, 11: 20, 16: 21, 12: 22, 17: 23}  # fmt: skip
"""Place among MPI-INF-3DHP's 28 joints -> SMPL's joint."""
MPI_17 = {0: 0, 1: 2, 2: 5, 3: 8, 4: 1, 5: 4, 6: 7, 7: 6, 8: 12, 9: 15, 11: 16, 12: 18, 13: 20, 14: 17, 15: 19, 16: 21}


def write_mpi_inf_3dhp(folder: Path, who: People, *, split: str = "test", joints: int = 28, change=None) -> Path:
    """Two lists item by item; joints alone, millimetres."""
    images, annotations = [], []
    places = MPI_28 if joints == 28 else MPI_17
    for row in range(len(who)):
        points = np.tile(1000 * who.joints[row, 0].double().numpy(), (joints, 1))
        points[list(places)] = 1000 * who.joints[row, list(places.values())].double().numpy()
        name = f"S1/Seq1/{row:06d}.jpg"
        images.append({"id": row, "file_name": name, "width": WIDTH, "height": HEIGHT})
        annotations.append({
            "id": row, "image_id": row, "bbox": who.box(row), "keypoints_cam": points.tolist(), "activity_id": 1,
            "cam_param": {"intrinsic_param": who.K.tolist()},
        })  # fmt: skip
        photo(folder / "images" / name, who.points[row].numpy())
    content = {"images": images, "annotations": annotations}
    return write_json(folder / f"annotations/annotation_mpi_inf_3dhp_{split}.json", content, change)


def write_amass(folder: Path, who: People, *, change=None) -> Path:
    """A motion of one person, one second for each pose, in a world with z up."""
    n, Z_UP = len(who), np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # cam -> x right, y forward, z up
    T_cam_world = np.tile(np.eye(4), (n, 1, 1))
    T_cam_world[:, :3, :3] = Z_UP.T
    root, transl = who.in_world(T_cam_world)
    poses = np.zeros((n, 156))
    poses[:, :3], poses[:, 3:66] = root, who.poses[:, 1:22].reshape(n, 63)
    content = {
        "poses": np.repeat(poses, 60, axis=0), "trans": np.repeat(transl, 60, axis=0), "gender": np.array("male"),
        "betas": np.pad(who.params.betas[0].numpy(), (0, 6)), "mocap_framerate": np.array(60.0),
        "dmpls": np.zeros((n * 60, 8)),
    }  # fmt: skip
    if change is not None:
        change(content)
    path = folder / "ACCAD/Male1Walking_c3d/walk_poses.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **content)
    np.savez(path.with_name("shape.npz"), betas=content["betas"])
    return folder


def write_scorer_cache(folder: Path, who: People, *, change=None) -> Path:
    points = np.zeros((len(who), 137, 3))
    order = [0, 1, 2, 4, 5, 7, 8, 12, 16, 17, 18, 19, 20, 21]
    points[:, :14, :2] = who.points[:, order].numpy()
    people = {}
    for row in range(len(who)):
        people[str(row)] = {
            "img_path": f"toy/{row:04d}.jpg", "img_shape": (HEIGHT, WIDTH), "bbox": np.array(who.box(row), np.float32),
            "joint_img": points[row], "joint_valid": np.ones((137, 1)),
            "smplx_param": {
                "root_pose": who.poses[row, 0], "body_pose": who.poses[row, 1:22].reshape(63),
                "shape": who.params.betas[row].numpy(), "expr": np.zeros(10), "trans": np.zeros(3), "lhand_valid": 0,
            },
        }  # fmt: skip
        photo(folder / f"images/toy/{row:04d}.jpg", who.points[row].numpy())
    content = {"data_len": len(who), "data_strategy": "balance", **people}
    if change is not None:
        change(content)
    np.savez_compressed(folder / "hi4d_train.npz", **content)
    return folder


def write_rich(folder: Path, who: People, *, gender: str = "male", change=None) -> Path:
    """One scene with two cameras, of which the second is the first one moved; a frame for each person."""
    T = world_to_cam(1)
    root, transl = who.in_world(np.repeat(T, len(who), axis=0))
    for row in range(len(who)):
        body = {
            "transl": transl[row : row + 1], "global_orient": root[row : row + 1],
            "body_pose": who.poses[row : row + 1, 1:22].reshape(1, 63),
            "betas": who.params.betas[row : row + 1].numpy(),
            "left_hand_pose": np.zeros((1, 12)), "expression": np.zeros((1, 10)),
        }  # fmt: skip
        if change is not None:
            change(body, row)
        path = folder / f"test_body/Pavallion_013_yoga2/{row:05d}/013.pkl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(body))
        for camera in (0, 3):
            shift = np.array([0.01 * WIDTH, 0]) * (camera > 0)
            photo(folder / f"test/Pavallion_013_yoga2/cam_{camera:02d}/{row:05d}_{camera:02d}.jpeg",
                  who.points[row].numpy() + shift)  # fmt: skip
    for camera, offset in ((0, 0.0), (3, 0.01 * WIDTH)):
        K = who.K.double().numpy().copy()
        K[0, 2] += offset
        path = folder / f"scan_calibration/Pavallion/calibration/{camera:03d}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_opencv_xml({"CameraMatrix": T[0, :3], "Intrinsics": K, "Distortion": np.zeros((1, 8))}))
    (folder / "gender.json").write_text(json.dumps({"013": gender}))
    return folder


def write_ehf(folder: Path, who: People, *, change=None) -> Path:
    """A mesh in the world of the scan, a picture and OpenPose's points for each frame, and one camera for all.

    Fingers stretch out of the pose that the 24 joints have, as those of real meshes do.
    """
    T = world_to_cam(1)[0]
    in_cam = vertices(who.body, who.params).double().numpy()
    in_cam = in_cam + 0.03 * who.body.weights[:, 22:].sum(1).double().numpy()[:, None]
    meshes, faces = (in_cam - T[:3, 3]) @ T[:3, :3], who.body.faces.numpy()
    turn = rotmat_to_rotvec(torch.from_numpy(T[:3, :3])).tolist()
    fx, fy, (cx, cy) = float(who.K[0, 0]), float(who.K[1, 1]), who.K[:2, 2].tolist()
    camera = "".join(
        f"{heading}:\n" + "".join(f"[{number:.9f}]\n" for number in numbers) + "\n"
        for heading, numbers in (("Focal length", (fx, fy)), ("Principal Point", (cx, cy)), ("Rotation", turn),
                                 ("Translation", T[:3, 3]))
    )  # fmt: skip
    content = {"camera": camera, "meshes": list(meshes), "points": [p.reshape(-1).tolist() for p in openpose25(who)]}
    if change is not None:
        change(content)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "EHF_camera.txt").write_text(content["camera"])
    for row, (mesh, points) in enumerate(zip(content["meshes"], content["points"], strict=True), 1):
        (folder / f"{row:02d}_align.ply").write_bytes(_binary_ply(np.asarray(mesh), faces))
        other = {"pose_keypoints_2d": [5.0, 5.0, 0.1] * 25}  # somebody whom OpenPose saw in the background
        people = [other, {"pose_keypoints_2d": points}]
        (folder / f"{row:02d}_2Djnt.json").write_text(json.dumps({"version": 1.2, "people": people}))
        photo(folder / f"{row:02d}_img.png", who.points[row - 1].numpy())
    return folder


def _binary_ply(points: np.ndarray, faces: np.ndarray) -> bytes:
    head = (
        f"ply\nformat binary_little_endian 1.0\nelement vertex {len(points)}\nproperty float x\nproperty float y\n"
        f"property float z\nelement face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    rows = np.zeros(len(faces), np.dtype([("n", "u1"), ("i", "<i4", 3)]))
    rows["n"], rows["i"] = 3, faces
    return head.encode() + points.astype("<f4").tobytes() + rows.tobytes()


def _opencv_xml(matrices: dict[str, np.ndarray]) -> str:
    parts = []
    for name, matrix in matrices.items():
        numbers = " ".join(f"{x:.12e}" for x in matrix.ravel())
        rows, cols = matrix.shape
        parts.append(
            f'<{name} type_id="opencv-matrix"><rows>{rows}</rows><cols>{cols}</cols><dt>d</dt>\n'
            f"<data>\n{numbers}</data></{name}>"
        )
    return f'<?xml version="1.0"?>\n<opencv_storage>\n{chr(10).join(parts)}\n</opencv_storage>\n'


def same_shape(who: People) -> People:
    """The same persons, all with the first one's shape: a sequence of one person."""
    betas = who.params.betas[:1].expand(len(who), -1).contiguous()
    pelvis = who.joints[:, 0]
    J0 = rest_joints(who.body, betas)[:, 0]
    params = BodyParams(who.params.global_orient, who.params.body_pose, betas, pelvis - J0)
    return People(who.body, params, who.K)


@dataclass(frozen=True)
class StandIn:
    """How a published data set is stood in for: who writes it, a split that it then has, its annotation files."""

    write: Callable[..., Path]
    split: str
    annotations: str


STAND_INS = {
    "3dpw": StandIn(write_3dpw, "test", "sequenceFiles/*/*.pkl"),
    "3dpw-json": StandIn(write_3dpw_json, "test", "annotations/*.json"),
    "emdb": StandIn(write_emdb, "test", "P0/*/*.pkl"),
    "h36m": StandIn(write_h36m, "test", "annotations/*.json"),
    "bedlam": StandIn(write_bedlam, "train", "labels/*.npz"),
    "human-data": StandIn(write_human_data, "toy", "*.npz"),
    "hybrik-json": StandIn(write_hybrik_json, "coco", "annotations/*.json"),
    "mpi-inf-3dhp": StandIn(write_mpi_inf_3dhp, "test", "annotations/*.json"),
    "amass": StandIn(write_amass, "all", "ACCAD/*/walk_poses.npz"),
    "scorer-cache": StandIn(write_scorer_cache, "hi4d", "*.npz"),
    "ehf": StandIn(write_ehf, "test", "*_align.ply"),
    "rich": StandIn(write_rich, "test", "test_body/*/00000/*.pkl"),
}
"""Every published data set; the one table of them for tests."""
